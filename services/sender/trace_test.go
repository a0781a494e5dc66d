package sender_test

import (
	"fmt"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// within is a delivery of the trace n.
func within(n int) func(*delivery.Delivery) {
	return func(d *delivery.Delivery) { d.TraceContext = fmt.Sprintf("00-%032x-b7ad6b7169203331-01", n+1) }
}

// What is parked, before its first attempt or after it, and what is suspended stays in its trace, and what is sent later is sent in it.
func TestATraceOutlivesParking(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m") // longer than the wait, so that what waits is parked
	r.cfg.Traceparent = true
	rec := newReceiver(t, always(200))
	b := &busy{wait: "1"}
	rec.Config.Handler = b
	r.start("a")
	w := r.webhook(rec.URL+"/w", nil)
	sent := []delivery.Delivery{r.deliver(w, 0, within(0))}
	r.stateWhen(w, "put off", func(s failure.State) bool { return !s.DisabledUntil.IsZero() })
	sent = append(sent, r.deliver(w, 1, within(1)))
	paused := r.webhook(rec.URL+"/paused", func(w *webhook.Webhook) { w.Paused = true })
	kept := r.deliver(paused, 2, within(2))

	parked := map[string]string{} // contexts by delivery
	eventually(t, func() error {
		for _, d := range read(r, r.topics.Parked.Topic, wire.ReadDelivery) {
			parked[d.ID] = d.TraceContext
		}
		if len(parked) != len(sent) || len(b.posts()) != len(sent)+1 {
			return fmt.Errorf("%d parked, %d posts", len(parked), len(b.posts()))
		}
		return nil
	})
	told := map[string][]string{}
	for _, p := range b.posts() {
		told[p.header.Get("Webhook-Id")] = append(told[p.header.Get("Webhook-Id")], p.header.Get("Traceparent"))
	}
	for i, d := range sent {
		if parked[d.ID] != d.TraceContext {
			t.Errorf("delivery %d was parked in %q, want %q", i, parked[d.ID], d.TraceContext)
		}
		for _, context := range told[d.ID] {
			if context != d.TraceContext {
				t.Errorf("delivery %d was sent in %q, want %q", i, context, d.TraceContext)
			}
		}
	}
	if len(told[sent[0].ID]) != 2 || len(told[sent[1].ID]) != 1 {
		t.Errorf("posts: %v", told)
	}
	eventually(t, func() error {
		if s := read(r, r.topics.Suspended, wire.ReadDelivery); len(s) != 1 || s[0].TraceContext != kept.TraceContext {
			return fmt.Errorf("suspended: %+v", s)
		}
		return nil
	})
}
