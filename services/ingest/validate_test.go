package ingest_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// demandKey makes a tenant that has its events' data checked, and returns a key of it.
func (b *broker) demandKey(validate string) string {
	b.t.Helper()
	name := "demands-" + validate
	b.produce(func(t wire.Topics) (*kgo.Record, error) {
		return wire.EventType(t.Settings, tenant.EventType{
			Tenant: name, Type: "card.updated",
			Schema: []byte(`{"properties":{"current":{"properties":{"id":{"type":"string","maxLength":5}}}}}`),
		})
	})
	b.produce(func(t wire.Topics) (*kgo.Record, error) {
		return wire.Tenant(t.Settings, tenant.Tenant{ID: name, Open: true, Policy: tenant.Policy{Validate: validate}})
	})
	b.key(tenant.APIKey{ID: name, Tenant: name, Hash: auth.Hash("dsk_" + name), Scopes: []tenant.Scope{tenant.ScopeEvents}})
	return "dsk_" + name
}

// Data is held against its type's schema by every way in, and what is wrong is named by its path, not its value.
func TestDataThatDoesNotFit(t *testing.T) {
	b := newBroker(t)
	reject, warn := b.demandKey(tenant.ValidateReject), b.demandKey(tenant.ValidateWarn)
	s := runReady(t, b.config())
	misfit := &pb.Event{Type: "card.updated", Data: []byte(`{"current":{"id":"s3cret"}}`)}
	batch := &pb.PublishBatchRequest{Events: []*pb.Event{card(""), misfit}}

	_, err := s.client.Publish(as(t, reject), &pb.PublishRequest{Event: misfit})
	if status.Code(err) != codes.InvalidArgument || violated(err) != "event.data.current.id" || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("unary: %v, fields %s", err, violated(err))
	}
	one, err := s.client.Publish(as(t, warn), &pb.PublishRequest{Event: misfit})
	if w := one.GetWarnings(); err != nil || len(w) != 1 || w[0].GetField() != "event.data.current.id" || !strings.Contains(w[0].GetDescription(), "5") {
		t.Errorf("unary, taken with a warning: %v, %v", err, w)
	}
	many, err := s.client.PublishBatch(as(t, reject), batch)
	if r := many.GetResults(); err != nil || r[0].GetError() != nil || r[1].GetError().GetViolations()[0].GetField() != "events[1].data.current.id" {
		t.Errorf("batch: %v, %v", err, r)
	}
	many, err = s.client.PublishBatch(as(t, warn), batch)
	if r := many.GetResults(); err != nil || r[1].GetError() != nil || len(r[0].GetWarnings()) != 0 || r[1].GetWarnings()[0].GetField() != "events[1].data.current.id" {
		t.Errorf("batch, taken with a warning: %v, %v", err, r)
	}
	for key, refused := range map[string]bool{reject: true, warn: false} {
		stream := open(t, s, key)
		if err := stream.Send(&pb.PublishStreamRequest{Events: batch.GetEvents()}); err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		_, acks, _, err := drainAnswers(stream)
		faults := acks[1].GetWarnings()
		if refused {
			faults = acks[1].GetError().GetViolations()
		}
		if err != nil || acks[0].GetError() != nil || (acks[1].GetError() != nil) != refused || len(faults) != 1 || faults[0].GetField() != "event.data.current.id" {
			t.Errorf("stream: %v, %v", err, acks)
		}
	}
	if n := b.written(); n != 7 {
		t.Errorf("%d written", n)
	}
}
