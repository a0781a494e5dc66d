package replicas_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/replicas"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cfg   = replicas.Config{DrainWithin: time.Minute}
)

// spread is the same seat n times.
func spread(n int, s replicas.Seat) map[int32]replicas.Seat {
	out := map[int32]replicas.Seat{}
	for p := range int32(n) { //nolint:gosec // small
		out[p] = s
	}
	return out
}

// steady are samples, one a second for longer than is looked at, that are all the same.
func steady(s replicas.Sample) []replicas.Sample {
	var out []replicas.Sample
	for i := range int(replicas.Window/time.Second) + 1 {
		s.At = start.Add(time.Duration(i) * time.Second)
		out = append(out, s)
	}
	return out
}

func TestOf(t *testing.T) {
	for name, tt := range map[string]struct {
		sample   replicas.Sample
		capacity float64
		want     float64
	}{
		"no seat":                  {replicas.Sample{CPU: 0.5}, 0, 0},
		"nothing to do":            {replicas.Sample{Seats: spread(12, replicas.Seat{})}, 0, replicas.Least},
		"as busy as it is to be":   {replicas.Sample{Seats: spread(12, replicas.Seat{Posts: 10}), InFlight: 0.7}, 0, 1},
		"busier":                   {replicas.Sample{Seats: spread(12, replicas.Seat{Posts: 10}), InFlight: 0.91}, 0, 1.3},
		"processors are used":      {replicas.Sample{Seats: spread(12, replicas.Seat{Posts: 10}), CPU: 0.91}, 0, 1.3},
		"a backlog of 42 s":        {replicas.Sample{Seats: spread(10, replicas.Seat{Posts: 10, Held: 420}), InFlight: 1}, 0, (1 + 42.0/60) / 0.7},
		"and it has not been read": {replicas.Sample{Seats: spread(10, replicas.Seat{Posts: 10, Unseen: 420}), InFlight: 1}, 0, (1 + 42.0/60) / 0.7},
		"half of it is sent":       {replicas.Sample{Seats: spread(10, replicas.Seat{Posts: 10, Others: 10, Unseen: 840}), InFlight: 1}, 0, (1 + 42.0/60) / 0.7},
		"all of it is moved on":    {replicas.Sample{Seats: spread(10, replicas.Seat{Others: 1000, Unseen: 1e6}), CPU: 1}, 0, replicas.Least},
		"it waits for receivers":   {replicas.Sample{Seats: spread(10, replicas.Seat{Receivers: 1e6})}, 0, replicas.Least},
		"idle, but known":          {replicas.Sample{Seats: spread(10, replicas.Seat{Held: 420})}, 100, 42.0 / 60 / 0.7},
		"one seat has it all":      {replicas.Sample{Seats: map[int32]replicas.Seat{0: {Posts: 100, Held: 1e6}, 1: {}, 2: {}}, InFlight: 1}, 0, 1},
		"never more than seats":    {replicas.Sample{Seats: spread(4, replicas.Seat{Posts: 1, Held: 1e6}), InFlight: 1}, 0, 4},
	} {
		n, _ := replicas.Of(steady(tt.sample), tt.capacity, cfg)
		if math.Abs(n.Required-tt.want) > 1e-6 {
			t.Errorf("%s: %v senders, want %v (%+v)", name, n.Required, tt.want, n)
		}
	}
}

// What a receiver that hangs costs, which is processor time for moving its deliveries on, is shared out.
func TestProcessorTimeIsSharedOut(t *testing.T) {
	alone, _ := replicas.Of(steady(replicas.Sample{Seats: spread(12, replicas.Seat{Posts: 100}), CPU: 0.3}), 0, cfg)
	beside, _ := replicas.Of(steady(replicas.Sample{Seats: spread(12, replicas.Seat{Posts: 100, Others: 400, Receivers: 1e5}), CPU: 0.6}), 0, cfg)
	if math.Abs(alone.Required-beside.Required) > 1e-6 {
		t.Errorf("%v senders, %v beside a dead receiver", alone.Required, beside.Required)
	}
}

func drawSeat(t *rapid.T) replicas.Seat {
	n := func(name string, most int) int { return rapid.IntRange(0, most).Draw(t, name) }
	return replicas.Seat{
		Posts: n("posts", 1000), Others: n("others", 1000), Held: n("held", 10_000), Receivers: n("receivers", 1_000_000), Unseen: n("unseen", 1_000_000),
	}
}

func drawSamples(t *rapid.T, seats int) []replicas.Sample {
	at := start
	var out []replicas.Sample
	for range rapid.IntRange(1, 20).Draw(t, "samples") {
		s := replicas.Sample{
			At: at, Seats: map[int32]replicas.Seat{},
			InFlight: rapid.Float64Range(0, 1).Draw(t, "in flight"), CPU: rapid.Float64Range(0, 1).Draw(t, "cpu"),
		}
		for p := range int32(seats) { //nolint:gosec // small
			s.Seats[p] = drawSeat(t)
		}
		out = append(out, s)
		at = at.Add(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
	}
	return out
}

// Whatever is measured: never more senders than partitions, and never none while there is a seat.
func TestRequiredIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := replicas.Estimate{Config: cfg}
		seats := rapid.IntRange(1, 24).Draw(t, "seats")
		for _, s := range drawSamples(t, seats) {
			n := e.Add(s)
			if !(n.Required >= replicas.Least && n.Required <= float64(seats)+1e-9) {
				t.Fatalf("%v senders for %d seats", n.Required, seats)
			}
			if !(n.Capacity >= 0 && n.Use >= 0 && n.Use <= 1 && n.Senders >= 0 && n.Receivers >= 0) {
				t.Fatalf("%+v", n)
			}
		}
		if n := e.Add(replicas.Sample{At: start.Add(time.Hour)}); n.Required != 0 {
			t.Fatalf("%v senders without a seat", n.Required)
		}
	})
}

// More that is held back never asks for fewer senders; more that waits for receivers asks for none.
func TestOnlyWhatIsHeldBackAsksForMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := drawSamples(t, rapid.IntRange(1, 12).Draw(t, "seats"))
		capacity := rapid.Float64Range(0, 5000).Draw(t, "capacity")
		add := func(change func(*replicas.Seat)) float64 {
			var out []replicas.Sample
			for _, s := range samples {
				seats := map[int32]replicas.Seat{}
				for p, seat := range s.Seats {
					change(&seat)
					seats[p] = seat
				}
				s.Seats = seats
				out = append(out, s)
			}
			n, _ := replicas.Of(out, capacity, cfg)
			return n.Required
		}
		more := rapid.IntRange(1, 100_000).Draw(t, "more")
		was := add(func(*replicas.Seat) {})
		if is := add(func(s *replicas.Seat) { s.Held += more }); is < was-1e-9 {
			t.Fatalf("%v senders, with %d more held back %v", was, more, is)
		}
		if is := add(func(s *replicas.Seat) { s.Receivers += more }); math.Abs(is-was) > 1e-9 {
			t.Fatalf("%v senders, with %d more that wait for receivers %v", was, more, is)
		}
	})
}

// The sum over senders does not depend on who has which seat, if all can do the same.
func TestTheSumIsTheSameHoweverSeatsAreShared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 100.0 // POSTs a second
		seats := rapid.IntRange(1, 24).Draw(t, "seats")
		senders := rapid.IntRange(1, 6).Draw(t, "senders")
		of := map[int]map[int32]replicas.Seat{}
		all, total := map[int32]replicas.Seat{}, 0
		for p := range int32(seats) { //nolint:gosec // small
			seat := replicas.Seat{Posts: rapid.IntRange(0, 100/seats).Draw(t, "posts"), Held: rapid.IntRange(0, 1000).Draw(t, "held")}
			total += seat.Posts
			all[p] = seat
			owner := rapid.IntRange(0, senders-1).Draw(t, "owner")
			if of[owner] == nil {
				of[owner] = map[int32]replicas.Seat{}
			}
			of[owner][p] = seat
		}
		required := func(seats map[int32]replicas.Seat) float64 {
			posts := 0
			for _, s := range seats {
				posts += s.Posts
			}
			n, _ := replicas.Of(steady(replicas.Sample{Seats: seats, InFlight: float64(posts) / capacity}), capacity, cfg)
			return n.Required
		}
		one, sum := required(all), 0.0
		for _, seats := range of {
			sum += required(seats)
		}
		if math.Abs(one-sum) > replicas.Least*float64(senders) {
			t.Fatalf("one sender says %v, %d senders %v (%d POSTs a second)", one, senders, sum, total)
		}
	})
}

// A flood raises it within seconds, and it falls once the flood is over and has been for a minute.
func TestEstimateRisesAndFalls(t *testing.T) {
	e := replicas.Estimate{Config: cfg}
	now := start
	add := func(seconds int, s replicas.Sample) (n replicas.Need) {
		for range seconds {
			now = now.Add(time.Second)
			s.At = now
			n = e.Add(s)
		}
		return n
	}
	idle := replicas.Sample{Seats: spread(12, replicas.Seat{Posts: 1}), InFlight: 0.1}
	flood := replicas.Sample{Seats: spread(12, replicas.Seat{Posts: 10, Held: 1000}), InFlight: 1}
	if n := add(60, idle); n.Required > 0.2 {
		t.Errorf("%v senders for a tenth of one", n.Required)
	}
	if n := add(2, flood); n.Required > 1 {
		t.Errorf("%v senders after a burst of 2 s", n.Required)
	}
	if n := add(10, flood); n.Required < 2 {
		t.Errorf("%v senders 12 s into a flood", n.Required)
	}
	if n := add(50, idle); n.Required < 2 {
		t.Errorf("%v senders 50 s after a flood: it has not been over for a minute", n.Required)
	}
	if n := add(30, idle); n.Required > 0.2 {
		t.Errorf("%v senders 80 s after a flood", n.Required)
	}
}

// Seats that move take what was said of them along in part: who gives half away says half at once, and who gets them
// says nothing until it has measured.
func TestSeatsThatMove(t *testing.T) {
	giver, taker := replicas.Estimate{Config: cfg}, replicas.Estimate{Config: cfg}
	now := start
	sample := func(seats int) replicas.Sample {
		return replicas.Sample{At: now, Seats: spread(seats, replicas.Seat{Posts: 10, Held: 600}), InFlight: 1}
	}
	var before replicas.Need
	for range 30 {
		before = giver.Add(sample(12))
		now = now.Add(time.Second)
	}
	half := giver.Add(sample(6))
	none := taker.Add(sample(6))
	if math.Abs(half.Required-before.Required/2) > 1e-9 || none.Required != replicas.Least {
		t.Errorf("%v senders of 12 seats, then %v and %v of 6", before.Required, half.Required, none.Required)
	}
	for range 10 {
		now = now.Add(time.Second)
		half, none = giver.Add(sample(6)), taker.Add(sample(6))
	}
	if sum := half.Required + none.Required; sum < before.Required*0.9 || none.Required < 1 {
		t.Errorf("%v senders, 10 s after the move %v and %v", before.Required, half.Required, none.Required)
	}
}
