package sender

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/replicas"
	"github.com/doorstep-dev/doorstep/pkg/schedule"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// What is read and not is told by partition of all lanes: what is parked waits for receivers, what is not due does not wait.
func TestSurveyOfLanes(t *testing.T) {
	_, d := newStage(0, webhook.Webhook{}, schedule.Config{})
	d.waits = map[string]wait{"1m": {delay: time.Minute}, "parked": {delay: 15 * time.Second, parked: true}}
	now := dispatchStart
	lag := map[*kafka.Part]int64{}
	var parts []*kafka.Part
	lane := func(topic string, id int32, behind int64, due ...time.Duration) {
		p := kafka.NewPart(topic, id, 0, "")
		parts, lag[p] = append(parts, p), behind
		for i, after := range due {
			h := &held{part: p, offset: int64(i), delivery: delivery.Delivery{ID: fmt.Sprint(i), WebhookID: "w"}}
			if topic != "deliveries" {
				h.delivery.DueAt = now.Add(after)
			}
			d.line(p).add(h)
		}
	}
	lane("deliveries", 0, 100, 0, 0)                  // all of it
	lane("1m", 0, 1000, -time.Second, time.Second)    // one is due, what comes behind is not
	lane("parked", 0, 50, time.Second)                // all of it waits for receivers
	lane("deliveries", 1, 7)                          // nothing is read yet
	lane("1m", 1, 1000, -2*time.Minute, -time.Minute) // half of what is not read is due
	lane("1m", 2, 1000)                               // whether it is due is not known
	lane("deliveries", 3, 0)
	d.tallies[1] = tally{posts: 3, others: 4}
	d.tallies[9] = tally{posts: 9} // of a partition that was given away
	want := map[int32]replicas.Seat{
		0: {Unseen: 103, Receivers: 51},
		1: {Unseen: 7 + 2 + 500, Posts: 3, Others: 4},
		2: {},
		3: {},
	}
	got, ok := d.survey(parts, lag, false, now)
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("survey (%v): %s", ok, diff)
	}
	got, _ = d.survey(parts, lag, false, now)
	if got[1].Posts != 0 || got[1].Others != 0 {
		t.Errorf("what had ended is told again: %+v", got[1])
	}
}

// What waits for room in flight would be helped by more senders, what waits for its webhook would not; and nothing is
// said while nothing may begin.
func TestSurveyOfTheQueue(t *testing.T) {
	for name, tt := range map[string]struct {
		hook      webhook.Webhook
		slots     int
		heldBack  bool
		receivers bool
	}{
		"for room":        {webhook.Webhook{}, 4, true, false},
		"for its webhook": {webhook.Webhook{MaxInFlight: 1}, 400, false, true},
	} {
		s, d := newStage(500, tt.hook, schedule.Config{MaxInFlight: tt.slots})
		part := d.lines[0].part
		now := dispatchStart
		d.step(now)
		for range 50 {
			now = now.Add(time.Millisecond)
			d.finished(s.begun[0], time.Millisecond, true, now)
		}
		seats, ok := d.survey([]*kafka.Part{part}, nil, false, now)
		seat := seats[0]
		if !ok || seat.Posts != 50 || (seat.Held > 100) != tt.heldBack || (seat.Receivers > 100) != tt.receivers {
			t.Errorf("%s: %+v", name, seat)
		}
		s.unsure = true
		if _, ok := d.survey([]*kafka.Part{part}, nil, false, now); ok {
			t.Errorf("%s: it says something although nothing may begin", name)
		}
	}
}

func TestCgroupCPUs(t *testing.T) {
	for text, want := range map[string]float64{
		"50000 100000\n": 0.5, "250000 100000\n": 2.5,
		"max 100000\n": math.Inf(1), "": math.Inf(1), "0 0": math.Inf(1), "x y": math.Inf(1), "1 2 3": math.Inf(1),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "cpu.max"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := cgroupCPUs(dir); got != want {
			t.Errorf("cgroupCPUs(%q) = %v, want %v", text, got, want)
		}
	}
	if got := cgroupCPUs(t.TempDir()); !math.IsInf(got, 1) {
		t.Errorf("without a file: %v", got)
	}
}

// Use is what POSTs that ended took of the room of their side, and processor time what the process took of its own.
func TestGauge(t *testing.T) {
	s, d := newStage(500, webhook.Webhook{}, schedule.Config{MaxInFlight: 40}) // 10 on each side
	now := dispatchStart
	d.step(now)
	g := gauge{cpus: 1e9}
	if inFlight, cpu := g.next(d, now); inFlight != 0 || cpu != 0 {
		t.Errorf("at first: %v, %v", inFlight, cpu)
	}
	h := s.begun[0]
	for range 50 {
		d.finished(h, 100*time.Millisecond, true, now.Add(100*time.Millisecond))
	}
	inFlight, cpu := g.next(d, now.Add(time.Second)) // 5 s of 10, the first on the slow side
	if inFlight < 0.45 || inFlight > 0.5 || cpu < 0 || cpu > 0.01 {
		t.Errorf("use %v, processors %v", inFlight, cpu)
	}
}

func TestNeedSettingsAreChecked(t *testing.T) {
	for _, c := range []Config{{DrainWithin: 0}, {DrainWithin: time.Millisecond}, {DrainWithin: 2 * time.Hour}, {DrainWithin: time.Minute, CPUs: -1}, {DrainWithin: time.Minute, CPUs: math.NaN()}} {
		c.MaxInFlight, c.MaxQueued, c.WarnAfter, c.DisableAfter = 1, 1, 1, 1
		if c.Validate() == nil {
			t.Errorf("%v, %v processors pass", c.DrainWithin, c.CPUs)
		}
	}
}
