package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Follower reads compacted topics from their start and stays behind their ends by the time of
// one fetch. It has a client of its own, so nothing else can hold it up.
type Follower struct {
	client *kgo.Client
	log    *slog.Logger
	topics []string
	apply  func(*kgo.Record)
	ready  chan struct{}

	mu      sync.Mutex
	next    map[partition]int64 // first offset not applied yet
	target  map[partition]int64 // end offsets at start; nil until known
	changed chan struct{}       // closed and replaced when next grows
}

type partition struct {
	topic string
	id    int32
}

// NewFollower prepares to follow topics; Run does it. apply gets every record, in order within a
// partition, on one goroutine.
func NewFollower(cfg Config, id string, log *slog.Logger, apply func(*kgo.Record), topics ...string) (*Follower, error) {
	client, err := cfg.NewClient(id, log, kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The last record may be a transaction's marker: without it the end would never be reached.
		kgo.KeepControlRecords(), kgo.FetchMaxWait(250*time.Millisecond),
		// Sessions spare requests for many partitions; here are few, and a client that is closed tells brokers of the end
		// of its session, for ten seconds if they hang.
		kgo.DisableFetchSessions())
	if err != nil {
		return nil, err
	}
	return &Follower{
		client: client, log: log, topics: topics, apply: apply, ready: make(chan struct{}),
		next: map[partition]int64{}, changed: make(chan struct{}),
	}, nil
}

// Ready is closed once everything is applied that was in the topics when Run began.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run follows until ctx ends. Brokers that are away and topics that do not exist yet are waited for.
func (f *Follower) Run(ctx context.Context) error {
	defer f.client.Close()
	target, err := f.ends(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	f.mu.Lock()
	f.target = target
	f.mu.Unlock()
	f.advance(nil)
	for {
		fetches := f.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return nil
		}
		// Errors of a fetch are logged and retried by the client.
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if !r.Attrs.IsControl() {
					f.apply(r)
				}
			}
			if n := len(p.Records); n > 0 {
				f.advance(map[partition]int64{{p.Topic, p.Partition}: p.Records[n-1].Offset + 1})
			}
		})
	}
}

// ends asks for the ends of all partitions that hold anything, again until it is told: a broker that is
// away comes back, and a topic that was just made is not known to all of them at once.
func (f *Follower) ends(ctx context.Context) (map[partition]int64, error) {
	began, said := time.Now(), told{}
	for {
		target, err := f.listEnds(ctx)
		if err == nil {
			return target, nil
		}
		level := slog.LevelDebug
		if now := time.Now(); now.Sub(began) > askTime && said.due("", now) {
			level = slog.LevelWarn
		}
		f.log.Log(ctx, level, "kafka: waiting for topics that are followed", "topics", f.topics, "error", err)
		if !wait(ctx, 250*time.Millisecond) {
			return nil, err
		}
	}
}

func (f *Follower) listEnds(ctx context.Context) (map[partition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	starts, ends, err := NewAdmin(f.client).Bounds(ctx, f.topics...)
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	target := map[partition]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := starts.Lookup(o.Topic, o.Partition); ok && s.Offset < o.Offset {
			target[partition{o.Topic, o.Partition}] = o.Offset
		}
	})
	return target, nil
}

// advance notes what was applied and wakes those who wait for it.
func (f *Follower) advance(to map[partition]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, next := range to {
		f.next[p] = next
		if f.target != nil && next >= f.target[p] {
			delete(f.target, p)
		}
	}
	if f.target != nil && len(f.target) == 0 {
		select {
		case <-f.ready:
		default:
			close(f.ready)
		}
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// Applied reports whether the record at offset of a partition has been applied.
func (f *Follower) Applied(topic string, part int32, offset int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next[partition{topic, part}] > offset
}

// Wait returns once the record at offset of a partition has been applied.
func (f *Follower) Wait(ctx context.Context, topic string, part int32, offset int64) error {
	for {
		f.mu.Lock()
		done, changed := f.next[partition{topic, part}] > offset, f.changed
		f.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait sleeps for d and reports false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
