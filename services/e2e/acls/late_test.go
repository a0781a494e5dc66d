package acls

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/doorstep-dev/doorstep/pkg/acls"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestWritingIsAllowedLater starts services that may write to no topic at all: brokers then refuse their clients a producer id.
// What they had to write meanwhile is written, and new work is done, by the same processes once they may.
func TestWritingIsAllowedLater(t *testing.T) {
	w := newWorld(t)
	r := testkit.NewReceiver(t)
	h := w.register(r, "late", nil)
	w.inForce(r, h)
	w.writing(acls.Ingest, false)
	w.restart(acls.Ingest)
	if _, err := w.tryPublish("acl.late", `{}`); status.Code(err) != codes.Unavailable {
		t.Errorf("publish: %v, want it to be unavailable", err)
	}
	w.writing(acls.Ingest, true)
	w.eventually(func() error {
		_, err := w.tryPublish("acl.late", `{}`)
		return err
	})
	w.listed(h, "delivered", 1)

	w.writing(acls.Sender, false)
	w.restart(acls.Sender)
	w.publish("acl.late", `{}`)
	w.requests(r, h, 3) // the test, the two events
	sender := w.Of(acls.Sender)[0]
	testkit.Eventually(t, patience, func() error { return told(t, sender, 0, w.topics.Attempts) })
	w.writing(acls.Sender, true)
	w.listed(h, "delivered", 2)
	w.publish("acl.late", `{}`)
	w.listed(h, "delivered", 3)
	if n := len(r.RequestsTo(h.path)); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

// writing gives or takes all that lets a service write to topics. It sees them always.
func (w *world) writing(service string, give bool) {
	w.t.Helper()
	for _, n := range w.needs {
		if n.Service != service || n.Resource.Type != kmsg.ACLResourceTypeTopic || !slices.Contains(n.Operations, kmsg.ACLOperationWrite) {
			continue
		}
		n.Operations = []kmsg.ACLOperation{kmsg.ACLOperationDescribe}
		w.change(w.t, n, true)
		n.Operations = []kmsg.ACLOperation{kmsg.ACLOperationWrite}
		w.change(w.t, n, give)
	}
}
