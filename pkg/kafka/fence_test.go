package kafka

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A dead member's transaction is aborted, and what others wrote behind it is seen; a living member's goes on.
func TestFenceGoneLeavesTheLivingAlone(t *testing.T) {
	h := newHop(t)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	h.start(TransactOptions{}, func(ctx context.Context, records []*kgo.Record, produce func(*kgo.Record)) error {
		entered <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return h.copyAll(ctx, records, produce)
	})
	h.put("a")
	next(t, entered)

	ids := h.cfg.TopicPrefix + "hop."
	dead, err := h.cfg.NewClient("dead", slog.New(slog.DiscardHandler), kgo.TransactionalID(ids+"dead"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dead.Close)
	if err := dead.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) { // behind it nobody reads further
		if err := dead.ProduceSync(t.Context(), &kgo.Record{Topic: h.out, Partition: p, Value: []byte("lost")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	gone, fenced, err := fenceGone(t.Context(), h.client, h.cfg.TopicPrefix+"hop", ids)
	if err != nil || !slices.Equal(fenced, []string{ids + "dead"}) || !slices.Equal(gone, fenced) {
		t.Fatalf("gone %v, fenced %v, %v", gone, fenced, err)
	}
	if err := dead.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("who was fenced still commits")
	}
	close(release)
	h.want("a")
	if _, fenced, err = fenceGone(t.Context(), h.client, h.cfg.TopicPrefix+"hop", ids); err != nil || len(fenced) > 0 {
		t.Errorf("fenced again %v, %v", fenced, err)
	}
}
