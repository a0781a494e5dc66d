// Package publish takes events in, for gRPC and REST alike: it checks them, gives them an id, and
// writes them to the topic `events`. An event is accepted once all in-sync replicas have it, and
// not before.
//
// What is in flight is bounded in events and in bytes. A caller that must not wait is refused with
// ErrBusy; a stream waits instead, so that its producer slows down.
//
// An event whose time ran out (ErrUnavailable) may still have been written. Published again with the
// same id it is delivered once, since the matcher knows ids for 24 hours; without an id of its own
// it is another event.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Why an event was not accepted. Beside these it may be an invalid.Fields (fields named as in the
// event, e.g. "attributes[colour]") or auth.ErrOtherTenant.
var (
	ErrBusy        = errors.New("too much in flight; try again")
	ErrNoRoom      = errors.New("no room in the log; try again later")
	ErrUnavailable = errors.New("the log cannot be reached; try again with the same event id")
)

// Config bounds what is in flight. Flags and variables get the service's prefix.
type Config struct {
	MaxInFlight      int           `name:"in-flight" env:"IN_FLIGHT" default:"16384" help:"Events that may be on their way to Kafka at once."`
	MaxInFlightBytes int64         `name:"in-flight-bytes" env:"IN_FLIGHT_BYTES" default:"67108864" help:"Bytes of events that may be on their way to Kafka at once."`
	Timeout          time.Duration `name:"publish-timeout" env:"PUBLISH_TIMEOUT" default:"5s" help:"How long Kafka may take to accept an event before it is refused as unavailable."`
	// Room errs while there is no room for more events; nil: there always is. It is asked for every event.
	Room func() error `kong:"-"`
	// Trace makes a span of each event, until it is durable or refused; nil: none.
	Trace *trace.Tracer `kong:"-"`
}

// minInFlightBytes lets every event in: 256 KiB of data and what is around it.
const minInFlightBytes = 1 << 20

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	switch {
	case c.MaxInFlight < 1 || c.MaxInFlight > maxBuffered:
		return fmt.Errorf("in-flight: is %d, must be 1 to %d", c.MaxInFlight, maxBuffered)
	case c.MaxInFlightBytes < minInFlightBytes:
		return fmt.Errorf("in-flight-bytes: is %d, must be at least %d, the room for one event", c.MaxInFlightBytes, minInFlightBytes)
	case c.Timeout < time.Second: // the client takes no less
		return fmt.Errorf("publish-timeout: is %s, must be at least 1s", c.Timeout)
	}
	return nil
}

// Caller is who publishes.
type Caller struct {
	Principal    auth.Principal
	Tenant       string // that the call acts for; an event of a platform key may name another
	TraceContext string // W3C traceparent; may be empty
}

// Result is what became of an event.
type Result struct {
	EventID string // given or assigned; empty if it was refused before it had one
	Err     error  // nil: the event is durable
	// Warnings are where its data does not fit its type's schema, though it was taken: the tenant has Policy.Validate "warn".
	Warnings invalid.Fields
}

// settings is what of registry.Settings decides about an event.
type settings interface {
	Tenant(id string) tenant.Tenant
	EventType(tenantID, name string) (tenant.EventType, bool)
}

// Publisher takes events in. It is safe for concurrent use.
type Publisher struct {
	cfg      Config
	client   *kgo.Client
	writer   *kafka.Writer
	topic    string
	settings settings
	schemas  *schemas
	log      *slog.Logger
	metrics  *metrics
	events   *semaphore.Weighted
	bytes    *semaphore.Weighted
	down     atomic.Bool // the last event could not be written
}

// maxBuffered is above every MaxInFlight, so the client never blocks a producer.
const maxBuffered = 1 << 20

// New makes a publisher with a Kafka client of its own, named id. Close ends it.
func New(cfg Config, log kafka.Config, id string, c settings, logger *slog.Logger, reg prometheus.Registerer) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	topics, err := log.Topics()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	client, err := log.NewClient(id, logger, clientOptions(cfg)...)
	if err != nil {
		return nil, err
	}
	return &Publisher{
		cfg: cfg, client: client, writer: kafka.NewWriter(client, logger), topic: topics.Events, settings: c, schemas: newSchemas(), log: logger, metrics: m,
		events: semaphore.NewWeighted(int64(cfg.MaxInFlight)), bytes: semaphore.NewWeighted(cfg.MaxInFlightBytes),
	}, nil
}

// clientOptions bound the time that an event may take, and what its client holds.
func clientOptions(cfg Config) []kgo.Opt {
	return []kgo.Opt{
		kgo.MaxBufferedRecords(maxBuffered),
		// A busy client fills its batches while requests are under way. Measured on the embedded log: with
		// 64 callers, 5 ms of linger halve what they publish, and 1 ms changes neither that nor the CPU for
		// an event; streams are as fast with 0 as with 1 and 5 ms.
		kgo.ProducerLinger(0),
		// Measured by BenchmarkCompression with cards of 1 KiB: CPU in us for an event to write it (broker and client) and to
		// read it, its bytes in the log; with 64 callers that wait for their event, then in full batches.
		//	none    8.7 + 1.6, 1,017     3.7 + 1.3, 1,018
		//	snappy  9.5 + 1.9,   608     4.2 + 1.4,   528
		//	lz4    11.2 + 2.3,   636     6.8 + 1.3,   544
		//	zstd   18.2 + 3.2,   400    14.4 + 2.1,   330
		// Snappy takes half the network, disk and page cache, on each replica, for less than a microsecond.
		kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		kgo.RecordDeliveryTimeout(cfg.Timeout),
		// Without it the client would keep an event that it has sent, and its caller, until a broker
		// answers, however long that takes. The event may then be in the log though we said that it may
		// not; the same holds for any answer that is lost on its way.
		kgo.AllowIdempotentProduceCancellation(),
		// A broker that hangs must not hold an event much longer than one that is gone.
		kgo.ProduceRequestTimeout(cfg.Timeout),
		kgo.RequestTimeoutOverhead(time.Second),
		kgo.DialTimeout(2 * time.Second),
	}
}

// Close ends the publisher. Events in flight are refused as unavailable: wait for them first.
func (p *Publisher) Close() {
	p.writer.Close()
	p.client.Close()
}

// Client is the publisher's Kafka client, to ask brokers with.
func (p *Publisher) Client() *kgo.Client { return p.client }

// Writer is for what the publisher's service writes beside events.
func (p *Publisher) Writer() *kafka.Writer { return p.writer }

// Ping errs if no broker answers within the context, or the topic of events is not there for us to see.
func (p *Publisher) Ping(ctx context.Context) error { return kafka.See(ctx, p.client, p.topic) }

// lastAnswer is how long after an event's time the client may say what became of it. It looks at its time-outs when a
// request ends, and with brokers that take connections and say nothing that is many times the time-out.
const lastAnswer = time.Second

// Publish takes events in and returns when each is durable or refused, with one result for each in
// their order. When ctx ends first, or the time for an event, those that are still in flight count as unavailable.
func (p *Publisher) Publish(ctx context.Context, c Caller, events ...event.Event) []Result {
	b := newBatch(events)
	for i, e := range events {
		p.Submit(c, e, func(r Result) { b.set(i, r) })
	}
	return b.wait(ctx, p.cfg.Timeout+lastAnswer)
}

// Submit takes an event in without waiting: done is called once, as soon as the event is durable or
// refused, perhaps before Submit returns, and must not block. With brokers that hang, that may be long after the
// time for an event. When too much is in flight it is
// refused with ErrBusy.
func (p *Publisher) Submit(c Caller, e event.Event, done func(Result)) {
	p.submit(c, e, done, p.tryAcquire)
}

// SubmitWait is Submit but waits for room in flight, until ctx ends: then the event is unavailable.
func (p *Publisher) SubmitWait(ctx context.Context, c Caller, e event.Event, done func(Result)) {
	p.submit(c, e, done, func(size int64) error { return p.acquire(ctx, size) })
}

func (p *Publisher) submit(c Caller, e event.Event, done func(Result), acquire func(size int64) error) {
	span := p.cfg.Trace.Send(c.TraceContext, p.topic)
	c.TraceContext = span.Context()
	refuse := func(err error) {
		span.End(p.metrics.count(err))
		done(Result{EventID: e.ID, Err: err})
	}
	if p.cfg.Room != nil {
		if err := p.cfg.Room(); err != nil {
			refuse(fmt.Errorf("%w: %w", ErrNoRoom, err))
			return
		}
	}
	rec, warnings, err := p.accept(c, e)
	if err != nil {
		refuse(err)
		return
	}
	e.ID = rec.ID
	span.Event(rec.Tenant, rec.ID, rec.Type)
	r, err := wire.Event(p.topic, rec)
	if err != nil {
		refuse(err)
		return
	}
	size := int64(len(r.Key)+len(r.Value)) + recordOverhead
	if err := acquire(size); err != nil {
		refuse(err)
		return
	}
	p.produce(r, size, span, Result{EventID: rec.ID, Warnings: warnings}, done)
}

// accept decides about an event, and counts what does not fit its schema.
func (p *Publisher) accept(c Caller, e event.Event) (event.Record, invalid.Fields, error) {
	rec, validate, err := accept(p.settings, c, e, time.Now(), newID)
	if err != nil || validate == tenant.ValidateOff {
		return rec, nil, err
	}
	t, _ := p.settings.EventType(rec.Tenant, rec.Type)
	misfits := p.schemas.check(t, rec.Data)
	if len(misfits) == 0 {
		return rec, nil, nil
	}
	p.metrics.misfit(rec.Type, validate)
	if validate == tenant.ValidateReject {
		return event.Record{}, nil, misfits
	}
	return rec, misfits, nil
}

// recordOverhead is roughly what a record in flight holds beside its key and value, in bytes.
const recordOverhead = 512

// produce writes r. The caller's context is not the record's: it would take others of its batch along.
func (p *Publisher) produce(r *kgo.Record, size int64, span trace.Span, result Result, done func(Result)) {
	p.metrics.inFlight.Inc()
	p.metrics.inFlightBytes.Add(float64(size))
	p.writer.TryProduce(context.Background(), r, func(r *kgo.Record, err error) {
		p.metrics.inFlight.Dec()
		p.metrics.inFlightBytes.Sub(float64(size))
		p.bytes.Release(size)
		p.events.Release(1)
		if err != nil {
			err = unavailable{err}
		}
		p.note(err)
		if err == nil {
			span.At(r.Partition, r.Offset)
		}
		span.End(p.metrics.count(err))
		if result.Err = err; err != nil {
			result.Warnings = nil
		}
		done(result)
	})
}

func (p *Publisher) tryAcquire(size int64) error {
	if !p.events.TryAcquire(1) {
		return ErrBusy
	}
	if !p.bytes.TryAcquire(size) {
		p.events.Release(1)
		return ErrBusy
	}
	return nil
}

func (p *Publisher) acquire(ctx context.Context, size int64) error {
	if err := p.events.Acquire(ctx, 1); err != nil {
		return unavailable{err}
	}
	if err := p.bytes.Acquire(ctx, size); err != nil {
		p.events.Release(1)
		return unavailable{err}
	}
	return nil
}

// note logs when writing begins to fail and when it works again, not every event.
func (p *Publisher) note(err error) {
	switch {
	case err != nil && !p.down.Swap(true):
		p.log.Error("events cannot be written", "topic", p.topic, "error", kafka.Denied(errors.Unwrap(err)))
	case err == nil && p.down.Load() && p.down.Swap(false):
		p.log.Info("events are written again", "topic", p.topic)
	}
}

// unavailable is ErrUnavailable with its cause, which the log gets and the caller does not.
type unavailable struct{ cause error }

func (u unavailable) Error() string        { return ErrUnavailable.Error() }
func (u unavailable) Is(target error) bool { return target == ErrUnavailable }
func (u unavailable) Unwrap() error        { return u.cause }

func newID() string { return uuid.Must(uuid.NewV7()).String() }
