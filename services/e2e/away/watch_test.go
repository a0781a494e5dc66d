package away

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/services/e2e/fault"
)

// probe is one REST call.
type probe struct {
	flow   flow
	at     time.Time
	took   time.Duration
	status int // 0: none in time
	body   string
	age    time.Duration // of the newest delivery in the history
}

// readiness is what a process answered to /readyz.
type readiness struct {
	process string
	at      time.Time
	status  int
	body    string
}

// probeTime is how long a REST call may take: a client that waits longer has given up.
const probeTime = 10 * time.Second

// watch probes the API and asks for readiness until ctx ends.
func (w *world) watch(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	every := func(do func()) {
		watching.Go(func() {
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for {
				do()
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	event := map[string]any{"type": "away.nobody", "data": map[string]any{}}
	every(func() { w.probe(ctx, rest, http.MethodGet, "webhooks/"+w.first, nil, nil) })
	every(func() { w.probe(ctx, restLog, http.MethodPost, "events", event, nil) })
	every(func() {
		var newest []struct {
			CreatedAt time.Time `json:"created_at"`
		}
		w.probe(ctx, restOld, http.MethodGet, "deliveries?limit=1", nil, &newest, func(p *probe) {
			if len(newest) > 0 {
				p.age = time.Since(newest[0].CreatedAt)
			}
		})
	})
	var unlooked float64
	last := time.Now()
	every(func() { unlooked, last = w.watchDuplicates(ctx, unlooked, last) })
	for _, p := range w.cluster.Processes {
		every(func() {
			asking, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			status, body, err := p.Readiness(asking)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				body = err.Error()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ready = append(w.ready, readiness{p.Name, time.Now(), status, body})
		})
	}
}

// watchDuplicates notes when the matchers went on without a look for duplicates. On a machine with too much to do, Redis
// may be late for them without any fault of ours. It takes and returns how often they did so far, and when that was asked.
func (w *world) watchDuplicates(ctx context.Context, before float64, last time.Time) (float64, time.Time) {
	asking, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	now, total := time.Now(), 0.0
	for _, p := range w.cluster.Of("matcher") {
		n, err := p.Metric(asking, "doorstep_events_not_looked_up_total")
		if err != nil {
			return before, last
		}
		total += n
	}
	if total > before {
		w.history.Disturb(fault.Disturbance{What: "no look for duplicates", Kind: "no look for duplicates", From: last, To: time.Now(), Forgets: true})
		w.mu.Lock()
		w.unlooked += int(total - before)
		w.mu.Unlock()
	}
	return total, now
}

func (w *world) probe(ctx context.Context, f flow, method, path string, in, out any, then ...func(*probe)) {
	asking, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	began := time.Now()
	p := probe{flow: f}
	p.status, p.body = w.rest(asking, method, path, in, out)
	p.at, p.took = time.Now(), time.Since(began)
	if ctx.Err() != nil {
		return
	}
	for _, do := range then {
		do(&p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes = append(w.probes, p)
}
