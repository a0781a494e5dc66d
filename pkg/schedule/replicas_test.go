package schedule_test

import (
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/replicas"
	"github.com/doorstep-dev/doorstep/pkg/schedule"
)

const seats = 12

// scale lets the world go on for a while, and returns what its one sender says at the end of it. Its processors are idle.
func (w *world) scale(e *replicas.Estimate, d time.Duration) (n replicas.Need) {
	for end := w.now.Add(d); w.now.Before(end); {
		was := w.ended
		quick, slow := w.queue.Used()
		from := w.now
		w.run(time.Second)
		w.now = from.Add(time.Second)
		s := replicas.Sample{At: w.now, Seats: map[int32]replicas.Seat{}}
		for p := range int32(seats) {
			s.Seats[p] = replicas.Seat{Posts: w.ended[p].posts - was[p].posts, Others: w.ended[p].others - was[p].others}
		}
		w.queue.Waiting(w.now, false, func(chain int, heldBack bool) {
			seat := s.Seats[seatOf(chain)]
			if heldBack {
				seat.Held++
			} else {
				seat.Receivers++
			}
			s.Seats[seatOf(chain)] = seat
		})
		quickNow, slowNow := w.queue.Used()
		s.InFlight = min(1, max(quickNow-quick, slowNow-slow).Seconds()/float64(w.queue.Room()))
		n = e.Add(s)
	}
	return n
}

func seatOf(chain int) int32 { return int32(chain / chains % seats) } //nolint:gosec // small

type ended struct{ posts, others int }

// A flood over many webhooks that answer asks for more senders, one for webhooks that hang does not, however many of
// them there are; and when either is over, one sender is enough.
func TestWhoAsksForMoreSenders(t *testing.T) {
	const (
		calm  = 100
		takes = 100 * time.Millisecond
	)
	for name, tt := range map[string]struct {
		slots            int // a quarter of them for webhooks that answer
		flooded, hanging int // of the webhooks, the first and the last
		more             bool
	}{
		"nothing":                        {80, 0, 0, false},
		"a flood for those that answer":  {80, 40, 0, true},
		"the same beside some that hang": {80, 40, 60, true},
		"a flood for those that hang":    {80, 60, 100, false},
		"some hang":                      {80, 0, 60, false},
		"one is flooded":                 {400, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(calm, tt.flooded, tt.slots, 1)
			w.flooding = func(now time.Time) bool {
				return now.After(start.Add(2*time.Minute)) && now.Before(start.Add(3*time.Minute))
			}
			w.hangs = func(webhook int, now time.Time) bool { return webhook >= calm-tt.hanging }
			w.latency = func(int) time.Duration { return takes }
			e := replicas.Estimate{Config: replicas.Config{DrainWithin: time.Minute}}
			if n := w.scale(&e, 2*time.Minute); n.Required > 1 {
				t.Errorf("%v senders before the flood (%+v)", n.Required, n)
			}
			n := w.scale(&e, time.Minute)
			if (n.Required > 1.1) != tt.more {
				t.Errorf("%v senders in the flood (%+v)", n.Required, n)
			}
			if tt.flooded > 0 && tt.hanging == calm && n.Receivers == 0 {
				t.Errorf("nothing waits for those that hang (%+v)", n)
			}
			if n := w.scale(&e, 2*time.Minute); n.Required > 1 {
				t.Errorf("%v senders two minutes after the flood (%+v)", n.Required, n)
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	const n = 30
	for name, tt := range map[string]struct {
		limits  schedule.Limits
		answers bool
		slots   int
		starved bool
		want    bool
	}{
		"no room in flight":                  {schedule.Limits{}, true, 8, false, true},
		"at its cap":                         {schedule.Limits{MaxInFlight: 1}, true, 4000, false, false},
		"at its cap, no processor to spare":  {schedule.Limits{MaxInFlight: 1}, true, 4000, true, true},
		"at its rate":                        {schedule.Limits{RateLimit: 10}, true, 4000, false, false},
		"at its rate, no processor to spare": {schedule.Limits{RateLimit: 10}, true, 4000, true, false},
		"it has not answered yet":            {schedule.Limits{}, false, 8, true, false},
	} {
		q := schedule.New[int](schedule.Config{MaxInFlight: tt.slots})
		now := start
		if tt.answers { // quickly, and often
			for range 40 {
				q.Push(now, "w", tt.limits, 0, 100, false)
				now = now.Add(time.Second)
				if _, w, ok := q.Next(now); ok {
					q.Done(now, w, time.Millisecond, true)
				}
			}
		}
		for i := range n {
			q.Push(now, "w", tt.limits, i, 100, false)
		}
		for _, _, ok := q.Next(now); ok; _, _, ok = q.Next(now) {
		}
		told := 0
		q.Waiting(now, tt.starved, func(_ int, heldBack bool) {
			told++
			if heldBack != tt.want {
				t.Errorf("%s: held back by the queue is %v", name, heldBack)
			}
		})
		if told == 0 || told != q.Stats().Queued {
			t.Errorf("%s: told of %d of %d", name, told, q.Stats().Queued)
		}
	}
}
