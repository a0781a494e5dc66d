package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// commit is what a group has read.
func (s *shelf) commit(group string, partition int32, offset int64) {
	s.t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(s.topic, partition, offset, -1)
	done, err := kadm.NewClient(s.client).CommitOffsets(s.t.Context(), group, offsets)
	if err = errors.Join(err, done.Error()); err != nil {
		s.t.Fatal(err)
	}
}

// scan reads spans in chunks, as partition:value.
func (s *shelf) scan(ctx context.Context, spans []Span, chunk int) ([]string, error) {
	var got []string
	err := s.cfg.Scan(ctx, "scan", slog.New(slog.DiscardHandler), spans, chunk, func(records []*kgo.Record) error {
		if len(records) > chunk {
			s.t.Errorf("a chunk of %d records", len(records))
		}
		for _, r := range records {
			got = append(got, fmt.Sprintf("%d:%s", r.Partition, strings.TrimRight(string(r.Value), ".")))
		}
		return nil
	})
	return got, err
}

func TestScanReadsWhatAGroupHasCommitted(t *testing.T) {
	prefix := testkit.Prefix(t)
	s := newShelf(t, testkit.Broker(t), prefix)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	spans, behind, err := s.reader.Committed(ctx, prefix+"group", s.topic)
	if err != nil || behind != 0 || len(spans) != shelfPartitions {
		t.Fatalf("of an empty topic and no group: %v, %d behind, %v", spans, behind, err)
	}
	tx := s.newClient(kgo.TransactionalID(prefix + "scan"))
	s.keep(s.client, 0, "a", "b", "c", "d")
	s.transact(tx, 1, kgo.TryCommit, "e", "f")
	s.transact(tx, 1, kgo.TryAbort, "lost") // the end of partition 1 is two markers and what was aborted
	s.keep(s.client, 2, "g", "h")
	s.commit(prefix+"group", 0, 3)
	s.commit(prefix+"group", 1, 5)
	spans, behind, err = s.reader.Committed(ctx, prefix+"group", s.topic)
	want := map[int32]Span{0: {s.topic, 0, 0, 3}, 1: {s.topic, 1, 0, 5}, 2: {s.topic, 2, 0, 0}}
	for _, got := range spans {
		if got != want[got.Partition] {
			t.Errorf("span %v, want %v", got, want[got.Partition])
		}
	}
	if err != nil || behind != 3 {
		t.Errorf("%d behind, want 3; %v", behind, err)
	}
	got, err := s.scan(ctx, spans, 2)
	if err != nil {
		t.Fatal(err)
	}
	unordered := cmp.Transformer("set", func(in []string) map[string]bool {
		out := map[string]bool{}
		for _, v := range in {
			out[v] = true
		}
		return out
	})
	if diff := cmp.Diff([]string{"0:a", "0:b", "0:c", "1:e", "1:f"}, got, unordered); diff != "" {
		t.Error(diff)
	}
}

// TestScanDoesNotWaitForWhatIsGone: retention takes a span before it is read.
func TestEndsCountOpenTransactions(t *testing.T) {
	prefix := testkit.Prefix(t)
	s := newShelf(t, testkit.Broker(t), prefix)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s.keep(s.client, 0, "a", "b")
	tx := s.newClient(kgo.TransactionalID(prefix + "open"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	s.keep(tx, 1, "c")
	ends, err := s.reader.Ends(ctx, s.topic)
	if err != nil || len(ends) != 1 || len(ends[s.topic]) != shelfPartitions || ends[s.topic][0] != 2 || ends[s.topic][1] != 1 || ends[s.topic][2] != 0 {
		t.Errorf("ends: %v, %v", ends, err)
	}
	if _, err := s.reader.Ends(ctx, prefix+"none"); err == nil {
		t.Error("a topic that is not there has ends")
	}
}

func TestScanDoesNotWaitForWhatIsGone(t *testing.T) {
	prefix := testkit.Prefix(t)
	s := newShelf(t, testkit.Broker(t), prefix)
	for p := range int32(shelfPartitions) {
		s.put(s.client, p, "a", "b")
	}
	s.trim(2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := s.scan(ctx, []Span{{s.topic, 0, 0, 2}, {s.topic, 1, 0, 1}}, 10)
	if err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	starts, err := s.reader.Starts(ctx, s.topic, prefix+"nothing")
	if diff := cmp.Diff(map[string]map[int32]int64{s.topic: {0: 2, 1: 2, 2: 2}}, starts); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestScanEnds(t *testing.T) {
	s := newShelf(t, fakes(t, 1), "t.")
	s.put(s.client, 0, "a", "b", "c")
	broken := errors.New("broken")
	err := s.cfg.Scan(t.Context(), "scan", slog.New(slog.DiscardHandler), []Span{{s.topic, 0, 0, 3}}, 1, func([]*kgo.Record) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("handle errs: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.scan(ctx, []Span{{s.topic, 0, 0, 100}}, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context ends: %v", err)
	}
}
