package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// arrivedOnce waits until every event has arrived at a path, and fails if any came twice.
func arrivedOnce(t *testing.T, r *testkit.Receiver, path string, events []string) {
	t.Helper()
	count := map[string]int{}
	testkit.Eventually(t, 2*patience, func() error {
		clear(count)
		for _, got := range r.RequestsTo(path) {
			count[got.Header.Get("Doorstep-Event-Id")]++
		}
		missing := 0
		for _, id := range events {
			if count[id] == 0 {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d events did not arrive", missing, len(events))
		}
		return nil
	})
	for id, n := range count {
		if n > 1 {
			t.Errorf("event %s arrived %d times", id, n)
		}
	}
}

// While events go in all the time, a webhook is paused and resumed again and again: whatever the moment, every event
// arrives, and once.
func TestNothingIsLostInTheChangeOver(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	h := w.register(r.URL+"/hook", nil)
	w.inForce()

	var (
		events []string
		end    = make(chan struct{})
		going  sync.WaitGroup
	)
	going.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			case <-time.After(2 * time.Millisecond): // the pace of the producer
			}
			id, err := w.publish(&pb.Event{Type: "card.updated", ExternalReference: fmt.Sprint("card-", i%20), Data: fmt.Appendf(nil, `{"n":%d}`, i)})
			if err != nil {
				t.Errorf("publish: %v", err)
				return
			}
			events = append(events, id)
		}
	})
	chance := testkit.Random(t)
	for range 6 {
		for _, do := range []string{"pause", "resume"} {
			time.Sleep(time.Duration(100+chance.IntN(900)) * time.Millisecond) // the moment of the change
			if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/"+do, nil, nil); status != http.StatusOK {
				t.Fatalf("%s: %d", do, status)
			}
		}
	}
	close(end)
	going.Wait()
	t.Logf("%d events", len(events))
	// Each resume releases what its own pause kept; the last one's second look takes whatever came late.
	arrivedOnce(t, r, "/hook", events)
	w.policyWhen(h, "empty", func(p policyOf) bool { return p.Suspended == 0 && p.CanSend })
}

// The console that works a release is killed again and again: each delivery is released, and once.
func TestReleaseByConsolesThatDie(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	h := w.register(r.URL+"/hook", nil)
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/pause", nil, nil); status != http.StatusOK {
		t.Fatalf("pause: %d", status)
	}
	w.inForce()
	const n = 3000
	var events []string
	for i := range n {
		events = append(events, w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: fmt.Sprint("card-", i), Data: fmt.Appendf(nil, `{"n":%d}`, i)}))
	}
	w.policyWhen(h, "all kept", func(p policyOf) bool { return p.Suspended == n })
	if status := w.rest(http.MethodPost, "webhooks/"+h.ID+"/resume", nil, nil); status != http.StatusOK {
		t.Fatalf("resume: %d", status)
	}
	chance := testkit.Random(t)
	for k := range 4 {
		testkit.Eventually(t, patience, func() error {
			if got := r.Count(); got < k*n/5 {
				return fmt.Errorf("%d of %d arrived", got, n)
			}
			return nil
		})
		time.Sleep(time.Duration(chance.IntN(50)) * time.Millisecond) // the moment of the kill
		start := w.kill("console")
		t.Logf("killed after %d of %d", r.Count(), n)
		start()
	}
	w.answers()
	arrivedOnce(t, r, "/hook", events)
	w.policyWhen(h, "empty", func(p policyOf) bool { return p.Suspended == 0 })
}

// answers waits until the API does, from its database.
func (w *world) answers() {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/api/v1/webhooks", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+apiKey())
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the API answers %d", resp.StatusCode)
		}
		return nil
	})
}
