package console

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// A worker that has lost its lock while it wrote a page, without knowing, writes nothing once another has begun.
func TestWorkersBeforeAreFenced(t *testing.T) {
	t.Parallel()
	cfg := kafka.Config{Brokers: testkit.Broker(t), TopicPrefix: testkit.Prefix(t), RetryTiers: "1m"}
	topic := cfg.TopicPrefix + "page"
	testkit.Topics(t, cfg.Brokers, 1, topic)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	j := &jobs{cfg: cfg, log: slog.New(slog.DiscardHandler), failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "x"})}
	worker := func() *working {
		client, err := cfg.NewClient("jobs", j.log, soleProducer(cfg, "jobs")...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		if err := j.begin(ctx, client); err != nil {
			t.Fatal(err)
		}
		return &working{jobs: j, client: client}
	}
	page := func(of string) []*kgo.Record { return []*kgo.Record{{Topic: topic, Value: []byte(of)}} }
	first := worker()
	if err := inTransaction(ctx, first.client, page("written before")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.client.BeginTransaction(), first.client.ProduceSync(ctx, page("left open")...).FirstErr()); err != nil {
		t.Fatal(err)
	}
	second := worker()
	if err := first.client.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("a worker before committed")
	}
	if err := inTransaction(ctx, first.client, page("a page more")); err == nil {
		t.Error("a worker before wrote")
	}
	if err := inTransaction(ctx, second.client, page("the other's")); err != nil {
		t.Fatal(err)
	}
	reader, err := cfg.NewClient("test", j.log, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var got []string
	for len(got) == 0 || got[len(got)-1] != "the other's" {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("only %q", got)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if len(got) != 2 || got[0] != "written before" {
		t.Errorf("committed: %q", got)
	}
}
