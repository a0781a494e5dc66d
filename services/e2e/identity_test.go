package e2e

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

func TestTheSameEventIDArrivesOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	w.register(r.URL+"/hook", nil)
	w.inForce()
	again := func() {
		for range 3 {
			w.mustPublish(&pb.Event{Id: "invoice-7", Type: "invoice.paid", Data: []byte(`{"n":7}`)})
		}
	}
	again()
	to(t, r, "/hook", 1)
	if w.restart == nil {
		t.Skip("this Doorstep is not ours to restart")
	}
	w.restart()
	again()
	// This one has the same key in the log as those before it, so once it has arrived they have been matched.
	w.mustPublish(&pb.Event{Id: "invoice-8", Type: "invoice.paid", ExternalReference: "invoice-7", Data: []byte(`{"n":8}`)})
	got := to(t, r, "/hook", 2)
	if len(got) != 2 || string(got[0].Body) != `{"n":7}` || string(got[1].Body) != `{"n":8}` {
		t.Errorf("got %d requests: %+v", len(got), got)
	}
}
