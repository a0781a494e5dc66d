package away

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
	"github.com/doorstep-dev/doorstep/services/e2e/fault"
)

const (
	patience = 4 * time.Minute // for everything to catch up
	// stuck is how long a sender that is cut off from Kafka works on: what it does meanwhile may be done again.
	stuck = 7 * time.Second
	// silence is after how long a service that reads from Kafka says that it is not ready: when its group has given it up.
	silence = kafka.SessionTimeout + 3*time.Second
)

// TestAway takes the stores away, one after the other. AWAY_TIME=full makes it all of them, for their full times;
// -run TestAway/NAME one.
func TestAway(t *testing.T) {
	if _, given := cluster.FromEnv(); !given {
		if os.Getenv("TEST_REQUIRE_REAL") == "1" {
			t.Fatal("TEST_REQUIRE_REAL=1, and TEST_KAFKA, TEST_REDIS, TEST_POSTGRES do not name servers")
		}
		if os.Getenv("AWAY_TIME") == "" {
			t.Skip("it needs real servers, and makes its own: set AWAY_TIME to short or full, or run make test-real")
		}
	}
	full := os.Getenv("AWAY_TIME") == "full"
	starts := time.Now()
	w := start(t)
	t.Log("servers: Apache Kafka, Redis, PostgreSQL and Exim as processes, a toxiproxy before each for each process of Doorstep")
	loading, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	t.Cleanup(func() { stop(); load.Wait() })
	producing, quiet := context.WithCancel(loading)
	load.Go(func() { w.watch(loading) })
	produced := make(chan struct{})
	load.Go(func() {
		defer close(produced)
		w.produce(producing)
	})
	w.warm()
	began := time.Now()
	t.Logf("all is ready and warm after %s", time.Since(starts).Round(time.Second))
	var rows []row
	for i, s := range scenarios() {
		lasts := s.short
		if full {
			lasts = s.full
		}
		if lasts == 0 {
			continue
		}
		t.Run(s.fault, func(t *testing.T) {
			r := w.try(t, i, s, lasts)
			t.Logf("%s", r)
			for _, process := range slices.Sorted(maps.Keys(r.measured.unready)) {
				t.Logf("%s /readyz: %s", process, r.measured.unready[process])
			}
			rows = append(rows, r)
		})
	}
	quiet()
	<-produced
	w.finish(began)
	t.Logf("%d faults in %s\n%s", len(rows), time.Since(began).Round(time.Second), table(rows))
	stop()
	load.Wait()
	if err := w.cluster.Stop(); err != nil {
		t.Error(err)
	}
}

// warm returns once the receivers get what is published within two seconds: a broker that was just started is slow
// until its code is compiled.
func (w *world) warm() {
	w.t.Helper()
	began := time.Now()
	testkit.Eventually(w.t, 2*time.Minute, func() error {
		now := time.Now()
		if acks, _ := w.history.Counts(); acks < 3*rate {
			return fmt.Errorf("%d events are acknowledged", acks)
		}
		return w.allPosted(began.Add(2*time.Second), now.Add(-2*time.Second)) // 2 s until the webhooks are in force
	})
}

// row is what came of a scenario.
type row struct {
	scenario
	lasted   time.Duration
	measured measured
	recovery recovery
	report   fault.Report
	waiting  int // first POSTs, at the end of the fault
}

// try does one scenario, with a webhook that begins to fail when it does, and holds what happens against what is to happen.
func (w *world) try(t *testing.T, i int, s scenario, lasts time.Duration) row {
	t.Helper()
	d, lines := w.newDead(i), w.logLines()
	time.Sleep(time.Second) // for it to be in force
	w.mu.Lock()
	unlooked := w.unlooked
	w.mu.Unlock()
	from := time.Now()
	if err := s.begin(w); err != nil {
		t.Fatalf("%s: %v", s.fault, err)
	}
	over := time.Now()
	failing, stop := context.WithCancel(t.Context())
	defer stop()
	var publishing sync.WaitGroup
	publishing.Go(func() { w.fail(failing, d) })
	time.Sleep(time.Until(from.Add(lasts)))
	r := w.during(s, from, d)
	for slices.ContainsFunc(flows(), r.stands) && r.lasted < lasts+time.Minute { // what goes on does so in the end, on a busy machine too
		time.Sleep(time.Second)
		r = w.during(s, from, d)
	}
	ends := from.Add(r.lasted)
	r.waiting = w.unposted(from, ends.Add(-time.Second))
	for _, p := range w.network {
		p.Heal()
	}
	if s.heal != nil {
		if err := s.heal(w); err != nil {
			t.Errorf("heal %s: %v", s.fault, err)
		}
	}
	healed := time.Now()
	if !s.moment {
		over = healed
	}
	w.history.Disturb(fault.Disturbance{What: s.fault, Kind: s.fault, From: from, To: over, Repeats: s.repeats, Forgets: s.forgets})
	publishing.Wait()
	var err error
	if r.recovery, err = w.recover(s, from, healed, d, patience); err != nil {
		t.Errorf("%s: %v", s.fault, err)
	}
	for _, p := range w.cluster.Processes {
		if p.Exited() {
			t.Errorf("%s: %s has ended by itself", s.fault, p.Name)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for process, n := range w.logLines() {
		if n -= lines[process]; n > 30+int(healed.Sub(from).Seconds()) {
			t.Errorf("%s: %s wrote %d lines into its log", s.fault, process, n)
		}
	}
	r.judge(t)
	w.countAgain(t, &r, from, over, unlooked)
	return r
}

// during is what a scenario has come to so far.
func (w *world) during(s scenario, from time.Time, d *dead) row {
	now := time.Now()
	return row{scenario: s, lasted: now.Sub(from), measured: w.measure(from, from.Add(s.settle), now, d)}
}

// stands reports whether a flow does not go on that should.
func (r row) stands(f flow) bool {
	return !slices.Contains(r.stops, f) && !slices.Contains(r.late, f) && r.measured.share(f) < 0.5
}

// judge says what went on that should not have, and what did not that should.
func (r row) judge(t *testing.T) {
	t.Helper()
	m := r.measured
	for _, f := range flows() {
		share := m.share(f)
		switch {
		case slices.Contains(r.stops, f):
			if share > 0.1 {
				t.Errorf("%s: %s went on (%.0f %%): is it a fault at all? %s", r.fault, f, 100*share, m)
			}
		case r.stands(f):
			t.Errorf("%s: %s did not go on (%.0f %%): %s; %s", r.fault, f, 100*share, m, m.refusals())
		}
	}
	for f, probes := range m.probes {
		for _, p := range probes {
			if p.status/100 != 2 && p.status != 503 {
				t.Errorf("%s: %s answered %d after %s: %s", r.fault, f, p.status, short(p.took), p.body)
				break
			}
		}
	}
	for code, n := range m.codes {
		if name := code.String(); name != "Unavailable" && name != "ResourceExhausted" {
			t.Errorf("%s: %d publishes were refused with %s", r.fault, n, name)
		}
	}
	r.judgeReadiness(t)
}

// judgeReadiness holds what /readyz said against who could do its work.
func (r row) judgeReadiness(t *testing.T) {
	t.Helper()
	of := func(names []string, process string) bool {
		service, _, _ := strings.Cut(process, "-")
		return slices.Contains(names, service) || slices.Contains(names, process)
	}
	for process, says := range r.measured.unready {
		slow := slices.Contains(r.late, record) && of([]string{"recorder"}, process) // a batch takes it long
		if !of(r.unready, process) && !of(r.silent, process) && !slow {
			t.Errorf("%s: %s is not ready: %s", r.fault, process, says)
		}
	}
	for _, process := range processes() {
		must := of(r.unready, process) || of(r.silent, process) && r.lasted > silence
		if _, unready := r.measured.unready[process]; must && !unready {
			t.Errorf("%s: %s says that it is ready", r.fault, process)
		}
	}
}

// countAgain looks for what was lost and what was done twice.
func (w *world) countAgain(t *testing.T, r *row, from, over time.Time, unlookedBefore int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	for { // what is refused twice still waits in the tiers
		var err error
		if r.report, err = w.check(ctx, from.Add(-time.Second), began); err != nil {
			t.Errorf("%s: %v", r.fault, err)
			return
		}
		if len(r.report.Lost) == 0 || time.Since(began) > patience {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	if !r.report.OK() {
		t.Errorf("%s: %s", r.fault, r.report)
	}
	w.mu.Lock()
	unlooked := w.unlooked - unlookedBefore
	w.mu.Unlock()
	repeated, forgotten := 0, 2*unlooked // at most; an event has two webhooks or one
	if r.repeats {
		repeated = int(rate * perEvent * stuck.Seconds())
	}
	if r.forgets {
		forgotten += int(rate * perEvent * (over.Sub(from) + 12*time.Second).Seconds() / twice)
	}
	if n := r.report.Repeats - r.report.Forgotten; n > repeated || r.report.Forgotten > forgotten {
		t.Errorf("%s: %d POSTs were repeated, at most %d may be; %d of what was published twice, at most %d may be", r.fault, n, repeated, r.report.Forgotten, forgotten)
	}
}

// logLines counts the lines of each process's log, and looks whether machines can read those that are new.
func (w *world) logLines() map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for _, process := range processes() {
		b, err := os.ReadFile(filepath.Join(w.logs, process+".log"))
		if err != nil {
			w.t.Fatal(err)
		}
		b = b[:bytes.LastIndexByte(b, '\n')+1]
		out[process] = bytes.Count(b, []byte("\n"))
		for line := range bytes.Lines(b[w.logRead[process]:]) {
			if w.logRead[process] += len(line); !json.Valid(line) {
				w.t.Errorf("%s logs %q", process, line)
			}
		}
	}
	return out
}

// finish holds the whole run against the promises, once all is quiet.
func (w *world) finish(began time.Time) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	ended, report := time.Now(), fault.Report{}
	testkit.Eventually(w.t, patience, func() (err error) {
		if report, err = w.check(ctx, began, ended); err == nil && len(report.Lost) > 0 {
			err = fmt.Errorf("%d deliveries have not been accepted: %s", len(report.Lost), report.Lost[0])
		}
		return err
	})
	var s fault.Summary
	var differences []string
	testkit.Eventually(w.t, patience, func() (err error) {
		if s, differences, err = fault.Audit(w.cluster.Of("console")[0].Addr, apiKey); err == nil && s.NotRecordedYet > 0 {
			err = fmt.Errorf("%d records are not recorded yet", s.NotRecordedYet)
		}
		return err
	})
	for _, d := range differences[:min(len(differences), 20)] {
		w.t.Errorf("audit: %s", d)
	}
	w.t.Logf("audit of the whole: %+v\n%s", s, report)
	if !report.OK() || s.Differences > 0 || s.Rows == 0 || s.Events < report.Events {
		w.t.Error("not every promise was kept")
	}
}
