package ingest_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/ingest"
)

func card(id string) *pb.Event { return &pb.Event{Id: id, Type: "card.updated"} }

// violated are the fields at fault of a status, in order.
func violated(err error) string {
	var names []string
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				names = append(names, v.GetField())
			}
		}
	}
	return strings.Join(names, ",")
}

func TestPublishedEventIsInTheLog(t *testing.T) {
	b := newBroker(t)
	s := runReady(t, b.config())
	at := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	before := time.Now()
	answer, err := s.client.Publish(as(t, platformKey, "doorstep-tenant", "globex", "traceparent", trace), &pb.PublishRequest{Event: &pb.Event{
		Id: "e:1", Type: "card.updated", OccurredAt: timestamppb.New(at), ExternalReference: "card-7",
		Attributes: map[string]string{"colour": "red"}, Data: []byte(`{ "b":1,"a" : [] }`),
	}})
	if err != nil || answer.GetEventId() != "e:1" {
		t.Fatalf("got %v, %v", answer, err)
	}
	assigned, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: &pb.Event{Type: "card.updated"}})
	if err != nil {
		t.Fatal(err)
	}
	got := b.events(2)
	e := got["e:1"]
	if e.ReceivedAt.Before(before) || e.ReceivedAt.After(time.Now()) {
		t.Errorf("received at %s", e.ReceivedAt)
	}
	e.ReceivedAt = time.Time{}
	want := event.Record{
		Event: event.Event{
			ID: "e:1", Tenant: "globex", Type: "card.updated", OccurredAt: at, ExternalReference: "card-7",
			Attributes: map[string]string{"colour": "red"}, Data: []byte(`{ "b":1,"a" : [] }`),
		},
		APIKeyID: "platform", TraceContext: trace,
	}
	if d := cmp.Diff(want, e); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if e := got[assigned.GetEventId()]; e.Tenant != "acme" || !e.IDAssigned || string(e.Data) != "null" || e.OccurredAt != e.ReceivedAt {
		t.Errorf("with all left out: %+v", e)
	}
}

func TestStatuses(t *testing.T) {
	s := runReady(t, newBroker(t).config())
	ok := card("")
	for name, tt := range map[string]struct {
		key    string
		tenant string
		event  *pb.Event
		code   codes.Code
		fields string
	}{
		"a platform key":                 {platformKey, "", ok, codes.OK, ""},
		"a platform key for a tenant":    {platformKey, "globex", ok, codes.OK, ""},
		"a tenant's key":                 {acmeKey, "", ok, codes.OK, ""},
		"a tenant's key, naming its own": {acmeKey, "acme", ok, codes.OK, ""},
		"no key":                         {"", "", ok, codes.Unauthenticated, ""},
		"an unknown key":                 {"dsk_wrong", "", ok, codes.Unauthenticated, ""},
		"an expired key":                 {expiredKey, "", ok, codes.Unauthenticated, ""},
		"a key without the scope":        {readerKey, "", ok, codes.PermissionDenied, ""},
		"another tenant":                 {acmeKey, "globex", ok, codes.PermissionDenied, ""},
		"an event of another tenant":     {acmeKey, "", &pb.Event{Type: "a", Tenant: "globex"}, codes.PermissionDenied, ""},
		"no tenant's name":               {platformKey, "No!", ok, codes.InvalidArgument, "Doorstep-Tenant"},
		"no event":                       {acmeKey, "", nil, codes.InvalidArgument, "event.type"},
		"an id with a dot":               {acmeKey, "", &pb.Event{Id: "a.b", Type: "a"}, codes.InvalidArgument, "event.id"},
		"a long id":                      {acmeKey, "", &pb.Event{Id: strings.Repeat("x", 65), Type: "a"}, codes.InvalidArgument, "event.id"},
		"a type that is none":            {acmeKey, "", &pb.Event{Type: "Card"}, codes.InvalidArgument, "event.type"},
		"a type that closed lacks":       {closedKey, "", &pb.Event{Type: "card.deleted"}, codes.InvalidArgument, "event.type"},
		"a type that closed has":         {closedKey, "", ok, codes.OK, ""},
		"ahead of its time": {acmeKey, "", &pb.Event{Type: "a", OccurredAt: timestamppb.New(time.Now().Add(25 * time.Hour))},
			codes.InvalidArgument, "event.occurred_at"},
		"a long reference": {acmeKey, "", &pb.Event{Type: "a", ExternalReference: strings.Repeat("x", 257)},
			codes.InvalidArgument, "event.external_reference"},
		"a long attribute": {acmeKey, "", &pb.Event{Type: "a", Attributes: map[string]string{"colour": strings.Repeat("x", 257)}},
			codes.InvalidArgument, "event.attributes[colour]"},
		"no JSON":              {acmeKey, "", &pb.Event{Type: "a", Data: []byte("{")}, codes.InvalidArgument, "event.data"},
		"the most data":        {acmeKey, "", &pb.Event{Type: "a", Data: text(256 << 10)}, codes.OK, ""},
		"too much data":        {acmeKey, "", &pb.Event{Type: "a", Data: text(256<<10 + 1)}, codes.InvalidArgument, "event.data"},
		"several faults":       {acmeKey, "", &pb.Event{Id: "!", Data: []byte("{")}, codes.InvalidArgument, "event.id,event.type,event.data"},
		"far above all limits": {acmeKey, "", &pb.Event{Type: "a", Data: text(10 << 20)}, codes.ResourceExhausted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := as(t, tt.key)
			if tt.tenant != "" {
				ctx = as(t, tt.key, "doorstep-tenant", tt.tenant)
			}
			answer, err := s.client.Publish(ctx, &pb.PublishRequest{Event: tt.event})
			if status.Code(err) != tt.code || violated(err) != tt.fields {
				t.Fatalf("got %v, fields %q; want %s, fields %q", err, violated(err), tt.code, tt.fields)
			}
			if (err == nil) != (answer.GetEventId() != "") {
				t.Fatalf("id %q with %v", answer.GetEventId(), err)
			}
		})
	}
	for _, secret := range []string{platformKey, acmeKey, "dsk_wrong", readerKey, expiredKey, "xxxxxxxx"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// text is a JSON string of n bytes in all.
func text(n int) []byte { return []byte(`"` + strings.Repeat("x", n-2) + `"`) }

func TestBatch(t *testing.T) {
	b := newBroker(t)
	s := runReady(t, b.config())
	answer, err := s.client.PublishBatch(as(t, acmeKey), &pb.PublishBatchRequest{Events: []*pb.Event{
		card("a"), {Id: "b", Type: "Card", Attributes: map[string]string{"": "x"}}, {Id: "c", Type: "x", Tenant: "globex"}, card("d"), nil,
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range answer.GetResults() {
		line := fmt.Sprintf("%s %s", r.GetEventId(), codes.Code(r.GetError().GetCode())) //nolint:gosec // 0 to 16
		for _, v := range r.GetError().GetViolations() {
			line += " " + v.GetField()
		}
		got = append(got, line)
	}
	want := []string{"a OK", "b InvalidArgument events[1].type events[1].attributes", "c PermissionDenied", "d OK", " InvalidArgument events[4].type"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("results (-want +got):\n%s", d)
	}
	if in := b.events(2); in["a"].ID == "" || in["d"].ID == "" || b.written() != 2 {
		t.Errorf("in the log: %v", in)
	}

	t.Run("limits", func(t *testing.T) {
		most := make([]*pb.Event, ingest.MaxBatchEvents)
		for i := range most {
			most[i] = &pb.Event{Type: "a"}
		}
		large := make([]*pb.Event, 33)
		for i := range large {
			large[i] = &pb.Event{Type: "a", Data: text(256 << 10)}
		}
		for name, tt := range map[string]struct {
			events []*pb.Event
			code   codes.Code
		}{
			"none":           {nil, codes.OK},
			"the most":       {most, codes.OK},
			"one too many":   {append(most, card("")), codes.InvalidArgument},
			"below 8 MiB":    {large[:31], codes.OK},
			"above 8 MiB":    {large, codes.InvalidArgument},
			"far above that": {append(large, large...), codes.ResourceExhausted},
		} {
			answer, err := s.client.PublishBatch(as(t, acmeKey), &pb.PublishBatchRequest{Events: tt.events})
			if status.Code(err) != tt.code || (tt.code == codes.InvalidArgument && violated(err) != "events") {
				t.Errorf("%s: %v, fields %q", name, err, violated(err))
			}
			if err != nil {
				continue
			}
			for _, r := range answer.GetResults() {
				if r.GetError() != nil || r.GetEventId() == "" {
					t.Errorf("%s: %v", name, r)
				}
			}
		}
	})
}

func TestNothingIsAcknowledgedBeforeKafkaHasIt(t *testing.T) {
	b := newFrailBroker(t)
	s := runReady(t, b.config())
	release := b.hold()
	answered := make(chan error, 1)
	go func() {
		_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e1")})
		answered <- err
	}()
	stream, err := s.client.PublishStream(as(t, acmeKey))
	if err != nil {
		t.Fatal(err)
	}
	acked := make(chan uint64, 1)
	if err := stream.Send(&pb.PublishStreamRequest{Sequence: 1, Event: card("e2")}); err != nil {
		t.Fatal(err)
	}
	go func() {
		ack, err := stream.Recv()
		if err == nil {
			acked <- ack.GetSequence()
		}
	}()
	eventually(t, "not in flight", func() bool { return gauge(t, s.metrics, "doorstep_publish_in_flight") == 2 })
	select {
	case err := <-answered:
		t.Fatalf("answered before Kafka: %v", err)
	case <-acked:
		t.Fatal("acknowledged before Kafka")
	case <-time.After(100 * time.Millisecond):
	}
	if n := b.written(); n != 0 {
		t.Fatalf("%d written", n)
	}
	release()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if n := <-acked; n != 1 {
		t.Fatalf("acknowledged %d", n)
	}
	if n := b.written(); n != 2 {
		t.Fatalf("%d written", n)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestTooMuchInFlight(t *testing.T) {
	b := newFrailBroker(t)
	cfg := b.config()
	cfg.Publish.MaxInFlight, cfg.StreamInFlight = 1, 1
	s := runReady(t, cfg)
	release := b.hold()
	answered := make(chan error, 1)
	go func() {
		_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e1")})
		answered <- err
	}()
	eventually(t, "not in flight", func() bool { return gauge(t, s.metrics, "doorstep_publish_in_flight") == 1 })
	if _, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e2")}); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("got %v", err)
	}
	release()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

func TestNoRoom(t *testing.T) {
	cfg := newBroker(t).config()
	cfg.Room = func() error { return errors.New("less than 256 MiB of disk are free") }
	s := runReady(t, cfg)
	_, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e1")})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "256 MiB") {
		t.Fatalf("got %v", err)
	}
}

func TestHealthAndReflectionNeedNoKey(t *testing.T) {
	s := runReady(t, newBroker(t).config())
	health := grpc_health_v1.NewHealthClient(s.conn)
	for _, name := range []string{"", "doorstep.v1.IngestService"} {
		answer, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", name, answer, err)
		}
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "doorstep.v1.IngestService"},
	}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || len(answer.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Fatalf("reflection: %v, %v", answer, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func TestNewRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	b := reserve(t)
	for name, tt := range map[string]struct {
		change func(*ingest.Config)
		says   string
	}{
		"an address in use":   {func(c *ingest.Config) { c.Addr = taken.Addr().String() }, "--grpc"},
		"no address":          {func(c *ingest.Config) { c.Addr = "" }, "grpc:"},
		"no brokers":          {func(c *ingest.Config) { c.Kafka.Brokers = nil }, "kafka-brokers"},
		"streams above all":   {func(c *ingest.Config) { c.StreamInFlight = 1025 }, "ingest-stream-in-flight"},
		"no time to drain":    {func(c *ingest.Config) { c.DrainTimeout = 0 }, "ingest-drain"},
		"nothing in flight":   {func(c *ingest.Config) { c.Publish.MaxInFlight, c.StreamInFlight = 0, 1 }, "ingest-stream-in-flight"},
		"too short a timeout": {func(c *ingest.Config) { c.Publish.Timeout = 1 }, "ingest-publish-timeout"},
	} {
		cfg := b.config()
		tt.change(&cfg)
		if _, err := ingest.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnreadableSettingIsQuarantined(t *testing.T) {
	b := newBroker(t)
	b.produce(func(topics wire.Topics) (*kgo.Record, error) {
		return &kgo.Record{Topic: topics.Settings, Key: []byte("api_key/x"), Value: []byte("nonsense")}, nil
	})
	s := runReady(t, b.config())
	got, err := wire.ReadQuarantine(b.records(b.cfg.TopicPrefix+"quarantine", 1)[0])
	if err != nil || got.Reader != "ingest" || got.Position.Topic != b.cfg.TopicPrefix+"settings" || string(got.Value) != "nonsense" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := s.client.Publish(as(t, acmeKey), &pb.PublishRequest{Event: card("e1")}); err != nil {
		t.Fatal(err)
	}
}
