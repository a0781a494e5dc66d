package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

type publishStream = grpc.BidiStreamingClient[pb.PublishStreamRequest, pb.PublishStreamResponse]

func open(t *testing.T, s *service, key string) publishStream {
	t.Helper()
	stream, err := s.client.PublishStream(as(t, key))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func send(t *testing.T, stream publishStream, sequence uint64, e *pb.Event) {
	t.Helper()
	if err := stream.Send(&pb.PublishStreamRequest{Sequence: sequence, Event: e}); err != nil {
		t.Fatal(err)
	}
}

// drainAcks reads acknowledgements to the end of the stream: result by sequence, and the end's error.
func drainAcks(stream publishStream) (map[uint64]*pb.PublishResult, error) {
	got := map[uint64]*pb.PublishResult{}
	for {
		ack, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if _, twice := got[ack.GetSequence()]; twice {
			return got, fmt.Errorf("sequence %d acknowledged twice", ack.GetSequence())
		}
		got[ack.GetSequence()] = ack.GetResult()
	}
}

func TestStreamAcknowledgesEveryEvent(t *testing.T) {
	b := newBroker(t)
	s := runReady(t, b.config())
	stream := open(t, s, acmeKey)
	const n = 3000 // far more than may be in flight, so the half-close comes with many unacknowledged
	go func() {
		for i := range uint64(n) {
			e := card(fmt.Sprintf("e%d", i))
			if i%1000 == 7 {
				e.Type = "Card"
			}
			if err := stream.Send(&pb.PublishStreamRequest{Sequence: 10 * i, Event: e}); err != nil {
				t.Error(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Error(err)
		}
	}()
	got, err := drainAcks(stream)
	if err != nil {
		t.Fatal(err)
	}
	in := b.events(n - 3)
	for i := range uint64(n) {
		r, id := got[10*i], fmt.Sprintf("e%d", i)
		if r.GetEventId() != id {
			t.Fatalf("event %s: %v", id, r)
		}
		if i%1000 == 7 {
			if codes.Code(r.GetError().GetCode()) != codes.InvalidArgument || r.GetError().GetViolations()[0].GetField() != "event.type" { //nolint:gosec // 0 to 16
				t.Errorf("event %s: %v", id, r)
			}
			continue
		}
		if r.GetError() != nil || in[id].ID == "" {
			t.Fatalf("event %s: %v, in the log %v", id, r, in[id].ID != "")
		}
	}
	if len(got) != n || b.written() != n-3 {
		t.Fatalf("%d acknowledged, %d written", len(got), b.written())
	}
}

func TestStreamWaitsInsteadOfRefusing(t *testing.T) {
	b := newFrailBroker(t)
	cfg := b.config()
	cfg.StreamInFlight, cfg.Publish.MaxInFlight = 4, 6
	s := runReady(t, cfg)
	release := b.hold()
	streams := []publishStream{open(t, s, acmeKey), open(t, s, acmeKey)} // want 8 in flight, may have 6
	const n = 50
	for _, stream := range streams {
		for i := range uint64(n) {
			send(t, stream, i, card(""))
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "not as much in flight as may be", func() bool { return gauge(t, s.metrics, "doorstep_publish_in_flight") == 6 })
	release()
	for _, stream := range streams {
		got, err := drainAcks(stream)
		if err != nil || len(got) != n {
			t.Fatalf("%d acknowledged, %v", len(got), err)
		}
		for _, r := range got {
			if r.GetError() != nil {
				t.Fatalf("refused: %v", r)
			}
		}
	}
	if n := b.written(); n != 100 {
		t.Fatalf("%d written", n)
	}
}

func TestStreamIsNotReadWhileItsAcksAreNot(t *testing.T) {
	b := newBroker(t)
	s := runReady(t, b.config())
	ctx, hangUp := context.WithCancel(as(t, acmeKey))
	stream, err := s.client.PublishStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range uint64(20000) {
			if stream.Send(&pb.PublishStreamRequest{Sequence: i, Event: &pb.Event{Type: "a", Data: text(1000)}}) != nil {
				return
			}
		}
	}()
	// Nobody reads: the sender comes to a halt, and so does the log.
	last := int64(-1)
	eventually(t, "the stream is read on and on", func() bool {
		time.Sleep(100 * time.Millisecond) // the time in which nothing may come in
		now := b.written()
		halted := now == last && now > 0
		last = now
		return halted
	})
	select {
	case <-sent:
		t.Fatal("all was taken though no acknowledgement was read")
	default:
	}
	hangUp() // or the stop waits for it, up to the drain's bound
	<-sent
}

func TestStreamNeedsAKey(t *testing.T) {
	s := runReady(t, newBroker(t).config())
	for key, want := range map[string]codes.Code{"": codes.Unauthenticated, "dsk_x": codes.Unauthenticated, readerKey: codes.PermissionDenied} {
		if _, err := drainAcks(open(t, s, key)); status.Code(err) != want {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func TestStreamEndsWithItsKey(t *testing.T) {
	b := newBroker(t)
	s := runReady(t, b.config())
	for name, change := range map[string]struct {
		key  tenant.APIKey
		code codes.Code
	}{
		"gone":              {tenant.APIKey{ID: "passing", Hash: auth.Hash("dsk_another")}, codes.Unauthenticated},
		"without the scope": {tenant.APIKey{ID: "passing", Hash: auth.Hash("dsk_passing")}, codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			b.key(tenant.APIKey{ID: "passing", Hash: auth.Hash("dsk_passing"), Scopes: []tenant.Scope{tenant.ScopeEvents}})
			var stream publishStream
			eventually(t, "the key does not arrive", func() bool {
				stream = open(t, s, "dsk_passing")
				// A stream that was refused already may refuse to send: Recv says why.
				_ = stream.Send(&pb.PublishStreamRequest{Event: card("")})
				_, err := stream.Recv()
				return err == nil
			})
			b.produce(func(topics wire.Topics) (*kgo.Record, error) { return wire.APIKey(topics.Settings, change.key) })
			acked, err := uint64(0), error(nil)
			for i, deadline := uint64(1), time.Now().Add(10*time.Second); err == nil && time.Now().Before(deadline); i++ {
				if stream.Send(&pb.PublishStreamRequest{Sequence: i, Event: card("")}) != nil {
					_, err = drainAcks(stream)
					break
				}
				var ack *pb.PublishStreamResponse
				if ack, err = stream.Recv(); err == nil {
					acked = ack.GetSequence()
				}
				time.Sleep(5 * time.Millisecond) // the pace of the producer
			}
			if status.Code(err) != change.code {
				t.Fatalf("after %d acknowledgements: %v", acked, err)
			}
		})
	}
}

// drainAnswers reads a stream to its end: the results by sequence, those that came alone and those that came with others.
func drainAnswers(stream publishStream) (alone, together map[uint64]*pb.PublishResult, answers int, err error) {
	alone, together = map[uint64]*pb.PublishResult{}, map[uint64]*pb.PublishResult{}
	note := func(in map[uint64]*pb.PublishResult, sequence uint64, r *pb.PublishResult) {
		if alone[sequence] != nil || together[sequence] != nil {
			err = fmt.Errorf("sequence %d acknowledged twice", sequence)
		}
		in[sequence] = r
	}
	for {
		answer, recvErr := stream.Recv()
		if errors.Is(recvErr, io.EOF) {
			return alone, together, answers, err
		}
		if recvErr != nil {
			return alone, together, answers, recvErr
		}
		answers++
		if len(answer.GetAcknowledgements()) == 0 {
			note(alone, answer.GetSequence(), answer.GetResult())
			continue
		}
		if answer.GetSequence() != 0 || answer.GetResult() != nil {
			return alone, together, answers, fmt.Errorf("an answer of both kinds: %v", answer)
		}
		for _, a := range answer.GetAcknowledgements() {
			note(together, a.GetSequence(), a.GetResult())
		}
	}
}

// Events may come alone or several a message, in one stream, and are answered as they came: programs of old know one way only.
func TestStreamOfSeveralEventsAMessage(t *testing.T) {
	b := newBroker(t)
	cfg := b.config()
	cfg.StreamInFlight = 4 // fewer than a message holds
	s := runReady(t, cfg)
	stream := open(t, s, acmeKey)
	header, err := stream.Header()
	if err != nil || len(header.Get("doorstep-stream-events")) != 1 || header.Get("doorstep-stream-events")[0] != "1000" {
		t.Fatalf("header %v, %v", header, err)
	}
	const messages, each = 60, 25
	go func() {
		for first := uint64(0); first < messages*each; first += each {
			rest := &pb.PublishStreamRequest{Sequence: first + 1}
			for i := first + 1; i < first+each; i++ {
				e := card(fmt.Sprintf("e%d", i))
				if i%100 == 7 {
					e.Type = "Card"
				}
				rest.Events = append(rest.Events, e)
			}
			for _, req := range []*pb.PublishStreamRequest{{Sequence: first, Event: card(fmt.Sprintf("e%d", first))}, rest} {
				if err := stream.Send(req); err != nil {
					t.Error(err)
				}
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Error(err)
		}
	}()
	alone, together, answers, err := drainAnswers(stream)
	if err != nil || len(alone) != messages || len(together) != messages*(each-1) {
		t.Fatalf("%d alone, %d together, %v", len(alone), len(together), err)
	}
	t.Logf("%d answers to %d messages with %d events", answers, 2*messages, messages*each)
	for i := range uint64(messages * each) {
		r := together[i]
		if i%each == 0 {
			r = alone[i]
		}
		if r.GetEventId() != fmt.Sprintf("e%d", i) {
			t.Fatalf("event %d: %v", i, r)
		}
		var faults []string
		for _, v := range r.GetError().GetViolations() {
			faults = append(faults, v.GetField())
		}
		if refused := i%100 == 7; refused && !slices.Equal(faults, []string{"event.type"}) || !refused && r.GetError() != nil {
			t.Errorf("event %d: %v", i, r)
		}
	}
	if n := b.written(); n != messages*each-messages*each/100 {
		t.Errorf("%d written", n)
	}
}

func TestStreamMessagesAreBounded(t *testing.T) {
	s := runReady(t, newBroker(t).config())
	of := func(n, bytes int) (events []*pb.Event) {
		for range n {
			events = append(events, &pb.Event{Type: "a", Data: text(bytes)})
		}
		return events
	}
	for name, tt := range map[string]struct {
		req    *pb.PublishStreamRequest
		acked  int
		fields string // at fault; none: the stream goes on
	}{
		"the most events":     {&pb.PublishStreamRequest{Events: of(1000, 10)}, 1000, ""},
		"one event too many":  {&pb.PublishStreamRequest{Events: of(1001, 10)}, 0, "events"},
		"the most data":       {&pb.PublishStreamRequest{Events: of(32, 256<<10)}, 32, ""},
		"too much data":       {&pb.PublishStreamRequest{Events: of(33, 256<<10)}, 0, "events"},
		"event beside events": {&pb.PublishStreamRequest{Event: card(""), Events: of(1, 10)}, 0, "event"},
	} {
		t.Run(name, func(t *testing.T) {
			stream := open(t, s, acmeKey)
			send(t, stream, 7, card("before"))
			tt.req.Sequence = 8
			if err := stream.Send(tt.req); err != nil {
				t.Fatal(err)
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			alone, together, _, err := drainAnswers(stream)
			if violated(err) != tt.fields || (tt.fields == "") != (err == nil) || len(together) != tt.acked || alone[7].GetEventId() != "before" {
				t.Fatalf("%d acknowledged beside %v; %v, fields %q", len(together), alone[7], err, violated(err))
			}
			for _, r := range together {
				if r.GetError() != nil {
					t.Fatal(r)
				}
			}
		})
	}
}
