package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Span is a part of a partition: From is its first offset, To the first one behind it.
type Span struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Committed is Admin's.
func (r *Reader) Committed(ctx context.Context, group string, topics ...string) (spans []Span, behind int64, err error) {
	return r.admin.Committed(ctx, group, topics...)
}

// Committed are the spans that a group has read, from the start of each partition of the topics to what the
// group has committed, and how many offsets of them it has not read yet. A partition of which it has
// committed nothing has an empty span.
func (a Admin) Committed(ctx context.Context, group string, topics ...string) (spans []Span, behind int64, err error) {
	// First what is committed: what comes meanwhile counts as not read.
	commits, err := a.commitsOf(ctx, group)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch the offsets of group %s: %w", group, explain(err))
	}
	starts, ends, err := a.Bounds(ctx, topics...)
	if err != nil {
		return nil, 0, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		start, ok := starts.Lookup(end.Topic, end.Partition)
		if !ok {
			return // a partition that was added just now
		}
		span := Span{Topic: end.Topic, Partition: end.Partition, From: start.Offset, To: start.Offset}
		if c, ok := commits.Lookup(end.Topic, end.Partition); ok {
			span.To = max(span.From, min(c.At, end.Offset))
		}
		spans, behind = append(spans, span), behind+end.Offset-span.To
	})
	return spans, behind, nil
}

// commitsOf are a group's offsets. A group that never was has none; a cluster that has had no group at all takes a
// while to say so.
func (a Admin) commitsOf(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	for {
		commits, err := a.GroupOffsets(ctx, group)
		if err == nil {
			err = commits.Error()
		}
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil, nil
		}
		if !kerr.IsRetriable(err) || !wait(ctx, readBackoff) {
			return commits, err
		}
	}
}

// Starts are the first offsets that the partitions of topics still hold, by position; topics that do not exist
// are absent.
func (r *Reader) Starts(ctx context.Context, topics ...string) (map[string]map[int32]int64, error) {
	listed, err := r.admin.StartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list start offsets of %v: %w", topics, explain(err))
	}
	starts := map[string]map[int32]int64{}
	for topic, partitions := range listed {
		for id, at := range partitions {
			if errors.Is(at.Err, kerr.UnknownTopicOrPartition) {
				continue
			}
			if at.Err != nil {
				return nil, fmt.Errorf("list start offsets of %s: %w", topic, at.Err)
			}
			if starts[topic] == nil {
				starts[topic] = map[int32]int64{}
			}
			starts[topic][id] = at.Offset
		}
	}
	return starts, nil
}

// Ends are the offsets behind the last records of the partitions of topics, those of open transactions included: once a
// reader of committed records is there, it has read whatever of those transactions is ever committed.
func (r *Reader) Ends(ctx context.Context, topics ...string) (map[string]map[int32]int64, error) {
	listed, err := r.admin.EndOffsets(ctx, topics...)
	if err = errors.Join(err, listed.Error()); err != nil {
		return nil, fmt.Errorf("list end offsets of %v: %w", topics, explain(err))
	}
	ends := map[string]map[int32]int64{}
	listed.Each(func(end kadm.ListedOffset) {
		if ends[end.Topic] == nil {
			ends[end.Topic] = map[int32]int64{}
		}
		ends[end.Topic][end.Partition] = end.Offset
	})
	return ends, nil
}

// scanBytes bounds what Scan holds and has not handed over, for each broker.
const scanBytes = 4 << 20

// scanStall is how long Scan gets nothing before it looks whether retention has taken what it waits for. After
// maxStalls with brokers that answer there is nothing to wait for.
const (
	scanStall = 2 * time.Second
	maxStalls = 10
)

// Scan reads the committed records of spans in the order of each partition, up to chunk of them at a time; handle has
// them until it returns. It waits for brokers that are away until ctx ends. It errs with what handle
// erred, and if ctx ends.
func (c Config) Scan(ctx context.Context, id string, log *slog.Logger, spans []Span, chunk int, handle func([]*kgo.Record) error) error {
	left := map[partition]int64{} // ends
	from := map[string]map[int32]kgo.Offset{}
	for _, s := range spans {
		if s.From >= s.To {
			continue
		}
		left[partition{s.Topic, s.Partition}] = s.To
		if from[s.Topic] == nil {
			from[s.Topic] = map[int32]kgo.Offset{}
		}
		from[s.Topic][s.Partition] = kgo.NewOffset().At(s.From)
	}
	if len(left) == 0 {
		return nil
	}
	client, err := c.NewClient(id, log, kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The last record of a span may be a transaction's marker: without it the end would never be reached.
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(scanBytes), kgo.FetchMaxPartitionBytes(scanBytes/4))
	if err != nil {
		return err
	}
	defer client.Close()
	for stalls := 0; len(left) > 0; {
		records, err := pollSome(ctx, client, chunk)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			stalls = 0
			if records = within(records, left); len(records) > 0 {
				err = handle(records)
			}
		} else if dropTrimmed(ctx, client, left) == nil { // else brokers are away, and waited for
			if stalls++; stalls > maxStalls {
				err = fmt.Errorf("read the log: it has nothing at the ends of these parts of it, which were committed: %v", left)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pollSome gets up to n records, none if there are none for scanStall. It errs if ctx ends.
func pollSome(ctx context.Context, client *kgo.Client, n int) ([]*kgo.Record, error) {
	stall, cancel := context.WithTimeout(ctx, scanStall)
	defer cancel()
	fetches := client.PollRecords(stall, n)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, e := range fetches.Errors() {
		if err := explain(e.Err); errors.Is(err, ErrRefused) {
			return nil, err
		}
	}
	return fetches.Records(), nil
}

// within are the records that belong to their span and are none of the log's own. Spans of which the last is
// among them are left no more.
func within(records []*kgo.Record, left map[partition]int64) []*kgo.Record {
	out := records[:0]
	for _, r := range records {
		p := partition{r.Topic, r.Partition}
		to, is := left[p]
		if is && r.Offset < to && !r.Attrs.IsControl() {
			out = append(out, r)
		}
		if is && r.Offset >= to-1 {
			delete(left, p)
		}
	}
	return out
}

// dropTrimmed gives up spans that retention has taken meanwhile, with their partitions' last records.
func dropTrimmed(ctx context.Context, client *kgo.Client, left map[partition]int64) error {
	var topics []string
	for p := range left {
		topics = append(topics, p.topic)
	}
	starts, err := NewAdmin(client).StartOffsets(ctx, topics...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return err
	}
	for p, to := range left {
		if start, ok := starts.Lookup(p.topic, p.id); ok && start.Offset >= to {
			delete(left, p)
		}
	}
	return nil
}
