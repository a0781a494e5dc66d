package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// A change of a webhook takes effect within 1 s, and what is published once it has must follow it. The fastest of some
// changes counts: a machine with much to do makes any of them late.
func TestAWebhookChangeTakesEffectWithinASecond(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	fastest := patience
	arrives := func(n int, path string, want bool) {
		t.Helper()
		fastest = min(fastest, w.inForce())
		id := w.mustPublish(&pb.Event{Type: "card.updated", Data: fmt.Appendf(nil, `{"n":%d}`, n)})
		marker := w.mustPublish(&pb.Event{Type: "marker", Data: fmt.Appendf(nil, `{"n":%d}`, n), ExternalReference: id})
		seen := func(path, id string) bool {
			for _, p := range r.RequestsTo(path) {
				if p.Header.Get("Doorstep-Event-Id") == id {
					return true
				}
			}
			return false
		}
		deadline := time.Now().Add(patience)
		for !seen("/marker", marker) || (want && !seen(path, id)) {
			if time.Now().After(deadline) {
				t.Fatalf("event %d did not arrive at %s", n, path)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if got := seen(path, id); got != want {
			t.Errorf("event %d arrived at %s: %v, want %v", n, path, got, want)
		}
	}
	w.register(r.URL+"/marker", map[string]any{"event_types": []string{"marker"}})
	h := w.register(r.URL+"/a", map[string]any{"event_types": []string{"card.*"}})
	arrives(1, "/a", true)

	patch := func(fields map[string]any) {
		t.Helper()
		if status := w.rest(http.MethodPatch, "webhooks/"+h.ID, fields, nil); status != http.StatusOK {
			t.Fatalf("PATCH: %d", status)
		}
	}
	patch(map[string]any{"url": r.URL + "/b"})
	arrives(2, "/b", true)
	patch(map[string]any{"event_types": []string{"order.*"}})
	arrives(3, "/b", false)
	patch(map[string]any{"event_types": []string{"card.updated"}, "filters": map[string]string{"eventUser": "545"}})
	arrives(4, "/b", false)
	patch(map[string]any{"filters": map[string]any{"eventUser": nil}, "active": false})
	arrives(5, "/b", false)
	patch(map[string]any{"active": true})
	arrives(6, "/b", true)
	if status := w.rest(http.MethodDelete, "webhooks/"+h.ID, nil, nil); status != http.StatusNoContent {
		t.Fatalf("DELETE: %d", status)
	}
	arrives(7, "/b", false)
	if fastest > time.Second {
		t.Errorf("of 7 changes, the fastest was in force after %s", fastest)
	}
}

func TestAHangingWebhookDelaysNobodyOnItsPartition(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	r.Set("/hangs", testkit.Behaviour{Hang: true})
	w.register(r.URL+"/hangs", nil)
	// More webhooks than the lanes have partitions, so that some share the hanging one's.
	const healthy, events = 12, 40
	for i := range healthy {
		w.register(fmt.Sprintf("%s/ok%d", r.URL, i), nil)
	}
	w.inForce()
	for n := range events {
		w.mustPublish(&pb.Event{Type: "card.updated", Data: fmt.Appendf(nil, `{"n":%d}`, n)})
	}
	began := time.Now()
	for i := range healthy {
		if got := to(t, r, fmt.Sprintf("/ok%d", i), events); len(got) != events {
			t.Errorf("webhook %d got %d of %d", i, len(got), events)
		}
	}
	// Far below the 10 s for which one POST of the hanging receiver lasts.
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("the healthy ones had to wait %s", took)
	}
	r.Close() // so that the stop has nothing to wait for
}
