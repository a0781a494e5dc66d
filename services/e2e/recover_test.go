package e2e

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// recoverJob is what is looked at of one.
type recoverJob struct {
	ID, Status string
	Changed    int64
	Skipped    int64
}

// TestRecoverSendsOnce: a receiver refuses everything for a while; then all of it is recovered, each delivery once, while
// consoles are killed where they are processes, and the recover is asked for twice.
func TestRecoverSendsOnce(t *testing.T) {
	t.Parallel()
	const n = 700
	w := start(t)
	if status := w.rest(http.MethodPatch, "tenants/default", map[string]any{"policy": map[string]any{"disable_after": 100_000}}, nil); status != http.StatusOK {
		t.Fatalf("policy: %d", status)
	}
	var up atomic.Bool
	r := testkit.NewReceiver(t)
	r.Set("", testkit.Behaviour{Func: func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}})
	h := w.register(r.URL+"/hook", map[string]any{"retry_count": 0})
	w.inForce()
	began := time.Now().Add(-time.Minute)
	w.flood(n, "card-")
	to(t, r, "/hook", n)
	w.tried(h, n)
	up.Store(true)
	body := map[string]any{"since": began.Format(time.RFC3339)}
	var first, second recoverJob
	for _, j := range []*recoverJob{&first, &second} {
		if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/recover", body, j); status != http.StatusAccepted {
			t.Fatalf("recover: %d", status)
		}
	}
	for _, at := range []int64{0, 200, 400} {
		testkit.Eventually(t, patience, func() error {
			if status := w.rest(http.MethodGet, "jobs/"+first.ID, nil, &first); status != http.StatusOK || first.Changed < at {
				return fmt.Errorf("%d %+v", status, first)
			}
			return nil
		})
		w.kill("console")()
		w.answers()
	}
	for _, j := range []*recoverJob{&first, &second} {
		testkit.Eventually(t, 2*patience, func() error {
			if status := w.rest(http.MethodGet, "jobs/"+j.ID, nil, j); status != http.StatusOK || j.Status != "done" {
				return fmt.Errorf("%d %+v", status, *j)
			}
			return nil
		})
	}
	// A console that was killed may have left a page uncounted, and nothing else.
	if first.Changed > n || first.Skipped != 0 || second.Changed != 0 {
		t.Errorf("%+v, %+v", first, second)
	}
	w.tried(h, 2*n)
	times := map[string]int{}
	for _, got := range r.RequestsTo("/hook") {
		times[got.Header.Get("webhook-id")]++
	}
	for id, k := range times {
		if k != 2 {
			t.Errorf("delivery %s was sent %d times, want 2", id, k)
		}
	}
	if len(times) != n {
		t.Errorf("%d deliveries, want %d", len(times), n)
	}
	var x struct{ Verdict, Reason string }
	deliveries := []struct {
		EventID string `json:"event_id"`
	}{}
	w.rest(http.MethodGet, "deliveries?limit=1&filter[webhook_id]="+h.ID, nil, &deliveries)
	if len(deliveries) == 0 {
		t.Fatal("no deliveries are listed")
	}
	testkit.Eventually(t, patience, func() error { // the history follows the log
		if status := w.rest(http.MethodGet, "explain?event="+deliveries[0].EventID+"&webhook="+h.ID, nil, &x); status != http.StatusOK || x.Verdict != "delivered" {
			return fmt.Errorf("explain: %d %+v", status, x)
		}
		return nil
	})
}

// tried waits until so many attempts of a webhook stand in the log.
func (w *world) tried(h hook, n int) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error {
		if got := len(w.attempts(h)); got != n {
			return fmt.Errorf("%d attempts, want %d", got, n)
		}
		return nil
	})
}
