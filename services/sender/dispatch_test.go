package sender

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/schedule"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// stage is what a dispatcher under test works on: it notes what the dispatcher sets going.
type stage struct {
	hook    webhook.Webhook
	unsure  bool
	paused  int
	begun   []*held
	settled []fate
}

func (s *stage) Pause(*kafka.Part)  { s.paused++ }
func (s *stage) Resume(*kafka.Part) { s.paused-- }
func (s *stage) Sure() bool         { return !s.unsure }

func (s *stage) lookup(*delivery.Delivery) (*webhook.Webhook, failure.State, bool) {
	return &s.hook, failure.State{}, true
}
func (s *stage) attempt(h *held) { s.begun = append(s.begun, h) }
func (s *stage) settle(_ *held, f fate, _ delivery.SuspendReason, _ time.Time) {
	s.settled = append(s.settled, f)
}

var dispatchStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newStage is a dispatcher with n deliveries of one webhook that were read and not fed yet.
func newStage(n int, hook webhook.Webhook, cfg schedule.Config) (*stage, *dispatcher) {
	hook.ID, hook.Active = "w", true
	s := &stage{hook: hook}
	d := newDispatcher(s, "deliveries", s, cfg)
	l := d.line(kafka.NewPart("deliveries", 0, 0, ""))
	for i := range n {
		l.add(&held{part: l.part, offset: int64(i), delivery: delivery.Delivery{ID: fmt.Sprint(i), WebhookID: "w", Body: []byte("{}")}})
	}
	return s, d
}

// woken reports, and forgets, whether the dispatcher was asked to step.
func (d *dispatcher) woken() bool {
	select {
	case <-d.wake:
		return true
	default:
		return false
	}
}

// Workers keep one another going: what is queued is sent, each once, although the dispatcher steps only once.
func TestWorkersGoOnWithoutTheDispatcher(t *testing.T) {
	const n = 500
	s, d := newStage(n, webhook.Webhook{}, schedule.Config{})
	now := dispatchStart
	d.step(now)
	sent := map[string]bool{}
	for len(s.begun) > 0 {
		h := s.begun[0]
		s.begun = s.begun[1:]
		for h != nil {
			if sent[h.delivery.ID] {
				t.Fatalf("delivery %s is sent twice", h.delivery.ID)
			}
			sent[h.delivery.ID] = true
			now = now.Add(time.Millisecond)
			h = d.finished(h, time.Millisecond, true, now)
		}
	}
	if len(sent) != n || d.woken() {
		t.Errorf("%d of %d are sent", len(sent), n)
	}
}

// A success that lets a webhook have more in flight lets more begin than the one that its worker goes on with.
func TestFinishedGivesOutAllThatMayBegin(t *testing.T) {
	s, d := newStage(500, webhook.Webhook{}, schedule.Config{})
	d.step(dispatchStart)
	before := len(s.begun)
	if next := d.finished(s.begun[0], time.Millisecond, true, dispatchStart.Add(time.Millisecond)); next == nil || len(s.begun) == before {
		t.Errorf("next %v, %d more begun; want both", next, len(s.begun)-before)
	}
}

func TestNothingIsGivenOutThatMustNotBegin(t *testing.T) {
	for name, forbid := range map[string]func(*stage, *dispatcher){
		"the group does not answer": func(s *stage, _ *dispatcher) { s.unsure = true },
		"the sender stops":          func(_ *stage, d *dispatcher) { d.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			s, d := newStage(500, webhook.Webhook{}, schedule.Config{})
			d.step(dispatchStart)
			before := len(s.begun)
			forbid(s, d)
			later := dispatchStart.Add(time.Millisecond)
			if next := d.finished(s.begun[0], time.Millisecond, true, later); next != nil || len(s.begun) != before {
				t.Errorf("an attempt begins: %v, %d more", next, len(s.begun)-before)
			}
			if next := d.released(s.begun[0], later); next != nil || len(s.begun) != before {
				t.Errorf("an attempt begins: %v, %d more", next, len(s.begun)-before)
			}
		})
	}
}

// A queue that is full is filled again when a part of it has gone out, and not for each.
func TestFullQueueIsFilledAgain(t *testing.T) {
	s, d := newStage(900, webhook.Webhook{MaxInFlight: 1}, schedule.Config{MaxQueued: 200, Horizon: time.Hour})
	now := dispatchStart
	d.step(now)
	next, woken := s.begun[0], 0
	for i := 1; next != nil; i++ {
		now = now.Add(time.Millisecond)
		if next = d.finished(next, time.Millisecond, true, now); d.woken() {
			woken++
			d.step(now)
		}
		if i > 900 {
			t.Fatal("more is sent than there is")
		}
	}
	if left := len(d.lines[0].held) + d.counts(now).Queued; left > 0 || woken < 2 || woken > 900/roomFor*2 {
		t.Errorf("%d are left, the dispatcher was woken %d times", left, woken)
	}
}

// A rate that a worker has used up wakes the dispatcher when it allows more.
func TestDispatcherHearsOfRates(t *testing.T) {
	s, d := newStage(100, webhook.Webhook{RateLimit: 20, MaxInFlight: 1}, schedule.Config{Horizon: time.Hour})
	now := dispatchStart
	d.step(now)
	for next := s.begun[0]; next != nil; {
		d.wakeAt = now.Add(time.Hour)
		next = d.finished(next, time.Millisecond, true, now)
	}
	if !d.woken() {
		t.Fatal("the dispatcher sleeps on")
	}
	if nap := d.step(now); nap <= 0 || nap > 50*time.Millisecond {
		t.Errorf("it sleeps for %s, the rate allows another after 50ms", nap)
	}
}

// What cannot be read counts with all that it holds.
func TestLineCountsWhatCannotBeRead(t *testing.T) {
	_, d := newStage(1, webhook.Webhook{}, schedule.Config{})
	l := d.lines[0]
	before := l.bytes
	l.add(newHeld(l.part, &kgo.Record{Value: make([]byte, 1<<20)}, "deliveries"))
	if got := l.bytes - before; got != 1<<20 {
		t.Errorf("%d bytes are counted", got)
	}
	l.drop()
	l.drop()
	if l.bytes != 0 {
		t.Errorf("%d bytes are counted of nothing", l.bytes)
	}
}

// What is not due yet holds up nobody who is due now, however much of it there is, and is bounded.
func TestAWaveToComeDoesNotStopTheReading(t *testing.T) {
	s, d := newStage(0, webhook.Webhook{}, schedule.Config{})
	now := dispatchStart
	for partition := range int32(12) {
		l := d.line(kafka.NewPart("deliveries.parked", partition, 0, ""))
		for i := range maxSoon {
			l.add(&held{part: l.part, offset: int64(i), waited: true, delivery: delivery.Delivery{ID: fmt.Sprint(partition, i), WebhookID: "w", DueAt: now.Add(time.Second)}})
		}
	}
	d.step(now)
	if full := d.hasRoom(); full != nil {
		t.Error("nothing is read any more, for what is due in a second")
	}
	if s.paused != 12 {
		t.Errorf("%d of 12 partitions are paused that hold as much as they may", s.paused)
	}
	d.step(now.Add(time.Second))
	if s.paused != 0 {
		t.Errorf("%d partitions are paused although what they hold is due", s.paused)
	}
}

// A dispatcher that ran late does not take that for its receivers' silence.
func TestALateDispatcherParksNothing(t *testing.T) {
	s, d := newStage(900, webhook.Webhook{}, schedule.Config{})
	now := dispatchStart
	d.step(now)
	for range 100 {
		now = now.Add(time.Millisecond)
		d.finished(s.begun[0], time.Millisecond, true, now)
	}
	d.step(now)
	d.step(now.Add(8 * time.Second))
	if len(s.settled) > 0 {
		t.Errorf("%d deliveries are parked", len(s.settled))
	}
}
