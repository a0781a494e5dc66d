package acls

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/acls"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

// TestServicesSayWhatTheyLack takes ACLs away and starts the service that needs them: it is not ready, says which and of
// what, once, and is ready by itself when they are back.
func TestServicesSayWhatTheyLack(t *testing.T) {
	w := newWorld(t)
	w.eventually(func() error { return w.says("matcher", "--hanging") })
	w.restart("console") // at the first start of all there is no transaction to look for
	w.eventually(func() error { return w.says("console", "--hanging") })
	for _, lack := range []struct{ service, resource string }{
		{acls.Ingest, w.topics.Events}, {acls.Ingest, w.topics.Settings},
		{acls.Matcher, w.topics.Events}, {acls.Matcher, w.topics.Deliveries}, {acls.Matcher, "group"}, {acls.Matcher, "transactional-id"},
		{acls.Sender, w.topics.Tiers[0].Topic}, {acls.Sender, w.topics.States}, {acls.Sender, "group"},
		{acls.Recorder, w.topics.Attempts}, {acls.Recorder, "group"},
		{acls.Notifier, w.topics.Notices}, {acls.Notifier, "group"},
	} {
		t.Run(lack.service+" "+strings.TrimPrefix(lack.resource, w.topics.Events[:len(w.topics.Events)-len("events")]), func(t *testing.T) {
			w.lacks(t, w.need(lack.service, lack.resource))
		})
	}
}

// need is the need of a service for a topic by its name, or for another resource by its type.
func (w *world) need(service, resource string) acls.Need {
	w.t.Helper()
	for _, n := range w.needs {
		if n.Service == service && !n.Hanging && (n.Resource.Name == resource || n.Resource.TypeName() == resource) {
			return n
		}
	}
	w.t.Fatalf("%s needs no %s", service, resource)
	return acls.Need{}
}

func (w *world) lacks(t *testing.T, n acls.Need) {
	p := w.Of(n.Service)[0]
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	w.change(t, n, false)
	before := size(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error { return told(t, p, before, n.Resource.Name) })
	noted := lines(t, p, before)
	<-time.After(2 * time.Second)
	if more := lines(t, p, before) - noted; more > 20 {
		t.Errorf("%d lines more in 2 s:\n%s", more, since(t, p, before))
	}
	if p.Exited() {
		t.Fatalf("it has ended:\n%s", since(t, p, before))
	}
	if status, body, err := p.Readiness(t.Context()); err != nil || status == 200 {
		t.Errorf("ready: %d %s, %v", status, body, err)
	}
	w.change(t, n, true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Error(err)
	}
}

// change gives or takes the ACLs of a need.
func (w *world) change(t *testing.T, n acls.Need, give bool) {
	t.Helper()
	b := kadm.NewACLs().Allow("User:" + n.Service).AllowHosts("*").Operations(n.Operations...).ResourcePatternType(kadm.ACLPatternLiteral)
	if n.Resource.Prefixed {
		b.ResourcePatternType(kadm.ACLPatternPrefixed)
	}
	switch n.Resource.Type {
	case kmsg.ACLResourceTypeTopic:
		b.Topics(n.Resource.Name)
	case kmsg.ACLResourceTypeGroup:
		b.Groups(n.Resource.Name)
	case kmsg.ACLResourceTypeTransactionalId:
		b.TransactionalIDs(n.Resource.Name)
	default:
		t.Fatalf("no way to change %s", n.Resource)
	}
	var err error
	if give {
		_, err = w.admin.CreateACLs(t.Context(), b)
	} else {
		_, err = w.admin.DeleteACLs(t.Context(), b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// told errs unless a process says in its log, behind a place, that ACLs are missing and of what.
func told(t *testing.T, p *cluster.Process, from int64, resource string) error {
	t.Helper()
	log := since(t, p, from)
	for line := range strings.Lines(log) {
		if strings.Contains(line, "doorstep topics acls") && strings.Contains(line, resource) {
			return nil
		}
	}
	return fmt.Errorf("%s says nothing of %s:\n%s", p.Name, resource, log)
}

// says errs unless the first process of a service has logged a text, once.
func (w *world) says(service, text string) error {
	if n := strings.Count(since(w.t, w.Of(service)[0], 0), text); n != 1 {
		return fmt.Errorf("%s says %q %d times, want once", service, text, n)
	}
	return nil
}

func size(t *testing.T, p *cluster.Process) int64 {
	t.Helper()
	info, err := os.Stat(p.Log())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func since(t *testing.T, p *cluster.Process, from int64) string {
	t.Helper()
	log, err := os.ReadFile(p.Log())
	if err != nil {
		t.Fatal(err)
	}
	return string(log[from:])
}

func lines(t *testing.T, p *cluster.Process, from int64) int {
	t.Helper()
	return strings.Count(since(t, p, from), "\n")
}
