package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/proto/producer"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
)

// system is a whole Doorstep under load: `doorstep up`, or one process for each service where both Kafka and
// PostgreSQL are given.
type system struct {
	processes []*Process
	console   *Process
	ingest    *Process
	sender    *Process
	recorder  *Process
	publish   *publisher
	rest      *client.Client
	sets      int // registered so far
}

// startWhole starts a receiver and a Doorstep that may send to it.
func startWhole(ctx context.Context, bed *Bed) (*Receiver, *system, error) {
	receiver, err := bed.Receiver(ctx)
	if err != nil {
		return nil, nil, err
	}
	system, err := startSystem(ctx, bed)
	return receiver, system, err
}

// startSystem starts it. Its end is the bed's.
func startSystem(ctx context.Context, bed *Bed) (*system, error) {
	key := newKey()
	s := &system{}
	var err error
	if bed.Kafka() && bed.Postgres() {
		err = s.startServices(ctx, bed, key)
	} else {
		err = s.startUp(ctx, bed, key)
	}
	if err != nil {
		return nil, err
	}
	if s.publish, err = newPublisher(s.ingest.GRPC(), key); err != nil {
		return nil, err
	}
	s.rest, err = client.New(client.Config{URL: "http://" + s.console.HTTP(), Key: key})
	return s, err
}

func (s *system) startUp(ctx context.Context, bed *Bed, key string) error {
	env := append([]string{"DOORSTEP_BOOTSTRAP_KEY=" + key, "DOORSTEP_DATA_DIR=" + filepath.Join(bed.Dir(), "data-"+key[len(key)-8:])}, bed.Servers()...)
	sql, err := bed.SQL(ctx)
	if err != nil {
		return err
	}
	p, err := bed.Start(ctx, "up", append(env, sql...), "up")
	if err != nil {
		return err
	}
	s.processes, s.console, s.ingest, s.sender, s.recorder = []*Process{p}, p, p, p, p
	return nil
}

func (s *system) startServices(ctx context.Context, bed *Bed, key string) error {
	log, err := bed.Log(ctx)
	if err != nil {
		return err
	}
	sql, err := bed.SQL(ctx)
	if err != nil {
		return err
	}
	env := append(append([]string{"DOORSTEP_BOOTSTRAP_KEY=" + key}, log.Env...), sql...)
	// The console first: it makes the tables and the key.
	for _, name := range []string{"console", "recorder", "ingest", "matcher", "sender", "notifier"} {
		p, err := bed.Start(ctx, name, env, name)
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
		switch name {
		case "console":
			s.console = p
		case "ingest":
			s.ingest = p
		case "sender":
			s.sender = p
		case "recorder":
			s.recorder = p
		}
	}
	return nil
}

// kill ends it at once: what hangs would hold up a stop.
func (s *system) kill() {
	s.publish.close()
	for _, p := range s.processes {
		p.Kill()
	}
}

// probePath is that of the webhook of a set that is registered last: once it is sent to, all of the set are in force.
const probePath = "probe"

// set is webhooks that are registered together.
type set struct {
	types []string // of the events that they want, in the order of the webhooks' paths
	ids   []string
}

// register registers a webhook for each path under event types that no other set has: the same one for fan of them. It
// returns once they are in force, and what came of that stands in no later report of the receiver.
func (s *system) register(ctx context.Context, to *Receiver, paths []string, fan int) (r set, err error) {
	s.sets++
	for i, path := range append(slices.Clone(paths), probePath) {
		if i == len(paths) || i%fan == 0 {
			r.types = append(r.types, fmt.Sprintf("bench.set%d.type%d", s.sets, len(r.types)))
		}
		id, err := s.registerOne(ctx, to.URL()+"/"+path, r.types[len(r.types)-1])
		if err != nil {
			return set{}, err
		}
		r.ids = append(r.ids, id)
	}
	last := len(r.types) - 1
	probe := r.types[last]
	r.types = r.types[:last]
	return r, s.probe(ctx, to, probe)
}

func (s *system) registerOne(ctx context.Context, url, eventType string) (id string, err error) {
	var made struct {
		ID string `json:"id"`
	}
	_, err = s.rest.Do(ctx, http.MethodPost, "webhooks", nil, map[string]any{
		"name": "bench", "url": url, "event_types": []string{eventType},
	}, &made)
	if err != nil {
		return "", fmt.Errorf("register a webhook: %w", err)
	}
	return made.ID, nil
}

// remove deletes a set's webhooks: what is still queued for them is given up.
func (s *system) remove(ctx context.Context, r set) error {
	for _, id := range r.ids {
		if _, err := s.rest.Do(ctx, http.MethodDelete, "webhooks/"+id, nil, nil, nil); err != nil {
			return fmt.Errorf("delete a webhook: %w", err)
		}
	}
	return nil
}

// probe publishes until the probe's webhook has been sent something.
func (s *system) probe(ctx context.Context, to *Receiver, eventType string) error {
	if err := to.Reset(ctx, time.Now()); err != nil {
		return err
	}
	err := await(ctx, metricsEvery, patience, "a first delivery", func() (bool, error) {
		event := &pb.Event{Type: eventType, Data: []byte("{}")}
		if _, err := s.publish.client.Publish(s.publish.with(ctx), &pb.PublishRequest{Event: event}); err != nil {
			return false, fmt.Errorf("publish: %w", err)
		}
		n, err := to.Count(ctx)
		return n > 0, err
	})
	if err != nil {
		return err
	}
	return to.Reset(ctx, time.Now())
}

// recorded is how many attempts the history has.
func (s *system) recorded(ctx context.Context) (float64, error) {
	return metric(ctx, s.recorder, "doorstep_recorder_rows_total", `table="attempts"`)
}

// parked is how many deliveries the sender has put aside because their webhook could not take them soon.
func (s *system) parked(ctx context.Context) (float64, error) {
	return metric(ctx, s.sender, "doorstep_deliveries_settled_total", `fate="parked"`)
}

// cpu is the sum over the system's processes.
func (s *system) cpu(by map[string]float64) (sum float64) {
	for _, p := range s.processes {
		sum += by[p.Name]
	}
	return sum
}

// The first segments of paths, as the receiver has them.
const (
	fast = "fast" // answered at once
	hang = "hang" // never answered
)

// numbered are the paths kind/0, kind/1, ...
func numbered(kind string, n int) (paths []string) {
	for i := range n {
		paths = append(paths, fmt.Sprintf("%s/%d", kind, i))
	}
	return paths
}

// publisher publishes over gRPC: calls by the generated client, streams as producers do.
type publisher struct {
	conn     *grpc.ClientConn
	client   pb.IngestServiceClient
	producer *producer.Client
	key      string
}

func newPublisher(addr, key string) (*publisher, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	// What goes wrong is a fault of the case: nothing is tried again.
	client, err := producer.New(addr, producer.Options{Key: key, Plain: true, RetryFor: -1})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &publisher{conn, pb.NewIngestServiceClient(conn), client, key}, nil
}

func (p *publisher) close() { _ = errors.Join(p.producer.Close(), p.conn.Close()) }

// with is ctx with the key for calls.
func (p *publisher) with(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+p.key)
}
