package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/twmb/franz-go/pkg/kgo"
)

// How producers publish at once.
const (
	batchCallers  = 8
	batchEvents   = 100
	ingestStreams = 4
)

func ingestUnary() Case {
	return Case{
		Name: "ingest-unary", Unit: "events", Ceiling: "bare-produce",
		Title:   "callers publish an event at a time over gRPC",
		Targets: []Target{{Figure: "rate", Of: "ceiling", Least: 0.85}},
		Run: func(ctx context.Context, bed *Bed) (Sample, error) {
			return ingest(ctx, bed, func(ctx context.Context, p *publisher, accepted *atomic.Int64) error {
				return unaryLoad(p.with(ctx), p.client, unaryCallers, func() *pb.Event { return benchEvent(bed.BodyBytes) }, accepted)
			})
		},
	}
}

func ingestBatch() Case {
	return Case{
		Name: "ingest-batch", Unit: "events",
		Title: fmt.Sprintf("%d callers publish batches of %d events over gRPC", batchCallers, batchEvents),
		Run: func(ctx context.Context, bed *Bed) (Sample, error) {
			return ingest(ctx, bed, func(ctx context.Context, p *publisher, accepted *atomic.Int64) error {
				callers, ctx := errgroup.WithContext(p.with(ctx))
				for range batchCallers {
					callers.Go(func() error { return batches(ctx, p.client, bed.BodyBytes, accepted) })
				}
				return callers.Wait()
			})
		},
	}
}

func ingestStream() Case {
	return Case{
		Name: "ingest-stream", Unit: "events",
		Title:   fmt.Sprintf("%d streams publish as fast as they are acknowledged", ingestStreams),
		Targets: []Target{{Figure: "rate", Least: 100_000}},
		Run: func(ctx context.Context, bed *Bed) (Sample, error) {
			return ingest(ctx, bed, func(load context.Context, p *publisher, accepted *atomic.Int64) error {
				// Not the load's context: what is under way when the load ends is acknowledged still.
				return p.stream(ctx, ingestStreams, accepted, func(context.Context) (*pb.Event, error) {
					if load.Err() != nil {
						return nil, errEnough
					}
					return benchEvent(bed.BodyBytes), nil
				})
			})
		},
	}
}

// ingest runs the service under a load, which counts what was acknowledged and ends with its context, and holds the count against the log.
func ingest(ctx context.Context, bed *Bed, load func(context.Context, *publisher, *atomic.Int64) error) (Sample, error) {
	log, err := bed.Log(ctx)
	if err != nil {
		return Sample{}, err
	}
	key := newKey()
	if err := writeKey(ctx, log, key); err != nil {
		return Sample{}, err
	}
	service, err := bed.Start(ctx, "ingest", log.Env, "ingest")
	if err != nil {
		return Sample{}, err
	}
	p, err := newPublisher(service.GRPC(), key)
	if err != nil {
		return Sample{}, err
	}
	defer p.close()
	var accepted atomic.Int64
	run := func(ctx context.Context) error { return load(ctx, p, &accepted) }
	m, err := underLoad(ctx, run, func(ctx context.Context) (Sample, error) {
		return measure(ctx, bed.Time, accepted.Load, service, log.Process)
	})
	if err != nil {
		return Sample{}, err
	}
	inLog, err := written(ctx, log, log.Topics.Events)
	if err == nil && inLog < accepted.Load() {
		err = fmt.Errorf("%d events were acknowledged, the log has %d", accepted.Load(), inLog)
	}
	return m, err
}

// underLoad measures while a load runs, then ends the load. It errs if the load failed.
func underLoad(ctx context.Context, load func(context.Context) error, measured func(context.Context) (Sample, error)) (Sample, error) {
	group, both := errgroup.WithContext(ctx)
	loading, stop := context.WithCancel(both)
	defer stop()
	var m Sample
	group.Go(func() error {
		if err := load(loading); err != nil && (!errors.Is(err, context.Canceled) || loading.Err() == nil) {
			return err
		}
		return nil
	})
	group.Go(func() (err error) {
		defer stop()
		m, err = measured(both)
		return err
	})
	return m, group.Wait()
}

// writeKey makes an API key that may publish for the tenant of the bench.
func writeKey(ctx context.Context, log *Log, key string) error {
	return write(ctx, log.Client, 1, func(int) (*kgo.Record, error) {
		return wire.APIKey(log.Topics.Settings, tenant.APIKey{
			ID: "bench", Tenant: benchTenant, Hash: auth.Hash(key), Scopes: []tenant.Scope{tenant.ScopeEvents}, CreatedAt: time.Now(), Version: 1,
		})
	})
}

// batches publishes batches one after another until ctx ends.
func batches(ctx context.Context, client pb.IngestServiceClient, bodyBytes int, accepted *atomic.Int64) error {
	for ctx.Err() == nil {
		events := make([]*pb.Event, batchEvents)
		for i := range events {
			events[i] = benchEvent(bodyBytes)
		}
		answer, err := client.PublishBatch(ctx, &pb.PublishBatchRequest{Events: events})
		if err != nil {
			return ended(ctx, err)
		}
		for _, r := range answer.GetResults() {
			if e := r.GetError(); e != nil {
				return errors.New("an event was refused: " + e.GetMessage())
			}
		}
		accepted.Add(int64(len(answer.GetResults())))
	}
	return nil
}
