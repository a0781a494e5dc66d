package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// recorded is a delivery as the API shows it.
type recorded struct {
	ID        string
	WebhookID string `json:"webhook_id"`
	Status    string
	Cause     string
	RunID     string `json:"run_id"`
	Attempts  []recordedAttempt
	Reference string `json:"external_reference"`
}

type recordedAttempt struct {
	RunID  string `json:"run_id"`
	Number int    `json:"attempt"`
	Status string
	Code   int `json:"status_code"`
	Error  string
	Cause  string `json:"error_code"`
	Answer string `json:"response_body"`
}

// recordedAs waits until the history says of an event's only delivery what check wants.
func (w *world) recordedAs(event string, check func(recorded) error) recorded {
	w.t.Helper()
	var got recorded
	testkit.Eventually(w.t, patience, func() error {
		var list []recorded
		if status := w.rest(http.MethodGet, "deliveries?filter[event_id]="+event, nil, &list); status != http.StatusOK || len(list) != 1 {
			return fmt.Errorf("%d, %d deliveries", status, len(list))
		}
		got = recorded{}
		if status := w.rest(http.MethodGet, "deliveries/"+list[0].ID, nil, &got); status != http.StatusOK {
			return fmt.Errorf("delivery: %d", status)
		}
		return check(got)
	})
	return got
}

// A delivery that failed and then arrived is on record with both attempts and its bytes; sent again, it arrives
// again under its id, with the same bytes, and is one delivery with two runs.
func TestTheHistoryOfADelivery(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	r.Set("/hook", testkit.Behaviour{FailFirst: 1, Body: []byte("thank you")})
	h := w.register(r.URL+"/hook", nil)
	w.inForce()
	event := w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: "card-7", Data: []byte(oddJSON)})
	first := w.recordedAs(event, func(d recorded) error {
		if d.Status != "delivered" || len(d.Attempts) != 2 || d.Reference != "card-7" {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	if a := first.Attempts; a[0].Code != 500 || a[0].Error == "" || a[0].Status != "retrying" ||
		a[1].Code/100 != 2 || a[1].Answer != "thank you" || a[1].Number != 2 || first.WebhookID != h.ID {
		t.Errorf("%+v", first)
	}
	if body := w.payload(first.ID); body != oddJSON {
		t.Errorf("payload %q", body)
	}
	var sent struct {
		RunID string `json:"run_id"`
	}
	if status := w.rest(http.MethodPost, "deliveries/"+first.ID+"/resend", nil, &sent); status != http.StatusAccepted {
		t.Fatalf("resend: %d", status)
	}
	got := to(t, r, "/hook", 3)
	if string(got[2].Body) != oddJSON || got[2].Header.Get("Webhook-Id") != first.ID {
		t.Errorf("sent again as %s: %q", got[2].Header.Get("Webhook-Id"), got[2].Body)
	}
	verify(t, h, got[2])
	w.recordedAs(event, func(d recorded) error {
		if d.Status != "delivered" || d.Cause != "resend" || d.RunID != sent.RunID || len(d.Attempts) != 3 || d.Attempts[2].RunID != sent.RunID {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	var shown struct {
		Data       json.RawMessage
		Deliveries []recorded
	}
	if status := w.rest(http.MethodGet, "events/"+event, nil, &shown); status != http.StatusOK || len(shown.Deliveries) != 1 || string(shown.Data) != oddJSON {
		t.Errorf("event: %d %d deliveries, %s", status, len(shown.Deliveries), shown.Data)
	}
}

// payload is what the log has of a delivery.
func (w *world) payload(id string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/api/v1/deliveries/"+id+"/payload", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("payload: %d %v", resp.StatusCode, err)
	}
	return string(body)
}
