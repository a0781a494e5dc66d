package bench

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// unaryCallers is how many callers publish one event at a time each.
const unaryCallers = 64

// bareProduce is a gRPC handler that does nothing but write to the log: the ceiling of ingest.
func bareProduce() Case {
	return Case{
		Name: "bare-produce", Unit: "events",
		Title: "a gRPC handler that only does ProduceSync; 64 callers publish an event at a time",
		Run:   runBareProduce,
	}
}

func runBareProduce(ctx context.Context, bed *Bed) (Sample, error) {
	log, err := bed.Log(ctx)
	if err != nil {
		return Sample{}, err
	}
	p, err := bed.Start(ctx, "bare-ingest", log.Env, "bench-part", "ingest")
	if err != nil {
		return Sample{}, err
	}
	publisher, err := newPublisher(p.GRPC(), newKey())
	if err != nil {
		return Sample{}, err
	}
	defer publisher.close()
	var accepted atomic.Int64
	load := func(ctx context.Context) error {
		return unaryLoad(publisher.with(ctx), publisher.client, unaryCallers, func() *pb.Event { return benchEvent(bed.BodyBytes) }, &accepted)
	}
	return underLoad(ctx, load, func(ctx context.Context) (Sample, error) {
		return measure(ctx, bed.Time, accepted.Load, p, log.Process)
	})
}

// unaryLoad lets callers publish one event after another until ctx ends, which is no error, and counts those that are acknowledged.
func unaryLoad(ctx context.Context, ingest pb.IngestServiceClient, callers int, event func() *pb.Event, accepted *atomic.Int64) error {
	calls, ctx := errgroup.WithContext(ctx)
	for range callers {
		calls.Go(func() error {
			for ctx.Err() == nil {
				if _, err := ingest.Publish(ctx, &pb.PublishRequest{Event: event()}); err != nil {
					return ended(ctx, err)
				}
				accepted.Add(1)
			}
			return nil
		})
	}
	return calls.Wait()
}
