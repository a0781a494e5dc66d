package e2e

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// PlanMill: one action fires ten hooks at most, the oldest; how many were cut is on the event's record. The body is the
// hook's, without a payload where that is excluded, for the tenant or for one webhook.
func TestTenHooksAreFiredOnOneAction(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	const of = "capped"
	if status := w.rest(http.MethodPost, "tenants", map[string]any{
		"id": of, "policy": map[string]any{"max_webhooks_per_event": 10}, "payload": map[string]any{"format": "hook", "stringify": true},
	}, nil); status != http.StatusCreated {
		t.Fatalf("tenant: %d", status)
	}
	as := []string{"Doorstep-Tenant", of}
	for i := range 12 {
		fields := map[string]any{"url": fmt.Sprintf("%s/%d", r.URL, i), "event_types": []string{"account.update"}}
		if i == 9 {
			fields["payload"] = map[string]any{"exclude": []string{"*"}}
		}
		if status := w.rest(http.MethodPost, "webhooks", fields, nil, as...); status != http.StatusCreated {
			t.Fatalf("webhook %d: %d", i, status)
		}
	}
	w.inForce()
	event := w.mustPublish(&pb.Event{
		Tenant: of, Type: "account.update", ExternalReference: "1104", Attributes: map[string]string{"eventUser": "50"}, Data: []byte(`{"name": "Acme", "size": 7.50}`),
	})
	for i, want := range []string{0: `{"hook":"account.update","eventUser":50,"Id":1104,"payload":{"name":"Acme","size":"7.50"}}`, 9: `{"hook":"account.update","eventUser":50,"Id":1104}`} {
		if got := to(t, r, fmt.Sprintf("/%d", i), 1); want != "" && string(got[0].Body) != want {
			t.Errorf("webhook %d gets %s, want %s", i, got[0].Body, want)
		}
	}
	var shown struct {
		Deliveries []json.RawMessage
		Notes      []struct {
			Kind  string
			Count int
		}
	}
	testkit.Eventually(t, patience, func() error {
		if status := w.rest(http.MethodGet, "events/"+event, nil, &shown, as...); status != http.StatusOK || len(shown.Deliveries) != 10 || len(shown.Notes) != 1 {
			return fmt.Errorf("%d, %d deliveries, %v", status, len(shown.Deliveries), shown.Notes)
		}
		return nil
	})
	if n := shown.Notes[0]; n.Kind != "capped" || n.Count != 2 {
		t.Errorf("what was cut is on record as %+v", n)
	}
	for _, cut := range []string{"/10", "/11"} {
		if got := len(r.RequestsTo(cut)); got != 0 {
			t.Errorf("%s was sent %d", cut, got)
		}
	}
}

// vPlan: self-signed certificates are not supported, and the attempt says so.
func TestSelfSignedReceiversAreRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	asked := make(chan struct{}, 10)
	r := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.StartTLS()
	t.Cleanup(r.Close)
	w.register(r.URL+"/hook", map[string]any{"retry_count": 0})
	w.inForce()
	event := w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: "self-signed"})
	d := w.recordedAs(event, func(d recorded) error {
		if d.Status != "exhausted" {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	if a := d.Attempts[0]; a.Cause != "tls" || a.Code != 0 || a.Error == "" {
		t.Errorf("the attempt says %+v", a)
	}
	if len(asked) > 0 {
		t.Error("the receiver was asked all the same")
	}
}
