package kafka

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkLanesProduce holds what is done for records that ACLs may not allow to write (Lanes.Produce, and what Sure asks of
// it) against the client's own Produce, in turns: the ratio is the median of rounds, of processor time, with the broker's.
// Eight goroutines write, as workers do.
func BenchmarkLanesProduce(b *testing.B) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(12, "lane", "out"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	nothing := func([]*Part) {}
	l, err := NewLanes(Config{Brokers: c.ListenAddrs()}, LanesConfig{Topics: []string{"lane"}, Group: "g", Revoked: nothing, Released: nothing, Grace: time.Second},
		slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	value := make([]byte, 1<<10)
	const each, writers = 5_000, 8
	round := func(produce func(context.Context, *kgo.Record, func(*kgo.Record, error))) time.Duration {
		began := used(b)
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range each {
					all.Add(1)
					produce(context.Background(), &kgo.Record{Topic: "out", Value: value}, func(_ *kgo.Record, err error) {
						if err != nil {
							b.Error(err)
						}
						all.Done()
					})
				}
			})
		}
		all.Wait()
		return used(b) - began
	}
	round(l.client.Produce)
	var ratios []float64
	var plain time.Duration
	for b.Loop() {
		without := round(l.client.Produce)
		with := round(func(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
			l.held()
			l.Produce(ctx, r, promise)
		})
		again := round(l.client.Produce)
		plain += without
		ratios = append(ratios, 2*float64(with)/float64(without+again))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(plain.Nanoseconds())/float64(b.N*each*writers), "ns/plain")
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
