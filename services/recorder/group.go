package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
)

const (
	// handoverTime is how long partitions that go to another recorder wait for the batch in hand.
	handoverTime = 5 * time.Second
	// commitTime bounds one commit.
	commitTime = 5 * time.Second
	// followTime is how long a batch is waited for while something is held.
	followTime = 50 * time.Millisecond
	// maxBatchBytes bounds the records of one batch, which are in memory until it is written.
	maxBatchBytes = 16 << 20
	fetchBytes    = 8 << 20
	// fetchLeast is what a fetch waits for, and fetchWait for how long.
	fetchLeast = 64 << 10
	fetchWait  = 200 * time.Millisecond
)

// group is this recorder's seat among the recorders: it reads the partitions that it owns, and commits
// what is written.
type group struct {
	name   string
	client *kgo.Client
	pulse  kafka.Pulse
	log    *slog.Logger
	seldom obs.Seldom

	// hand is held from reading a batch to its commit.
	hand chan struct{}
	// committing is held from reading what is written to the commit's answer: a commit must not arrive after
	// a later one, nor after its partition was given away.
	committing sync.Mutex

	mu     sync.Mutex
	places map[place]*written // of the partitions that are owned
}

type place struct {
	topic     string
	partition int32
}

// written is how far a partition is written.
type written struct {
	first int64 // offset that was read first; -1: none was
	read  int64 // offset behind the last record that was read
	next  int64 // offset behind the last record before which all are written
	epoch int32
	dirty bool // not committed
}

// newGroup joins.
func newGroup(cfg Config, topics []string, log *slog.Logger) (*group, error) {
	g := &group{name: groupName(cfg.Kafka), log: log, hand: make(chan struct{}, 1), places: map[place]*written{}}
	opts := []kgo.Opt{
		kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(topics...), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The ends of transactions are committed past too: else there would always seem to be something left.
		kgo.KeepControlRecords(),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(kafka.SessionTimeout), kgo.HeartbeatInterval(time.Second),
		// Each answer to a fetch costs the broker and this process as much as many records, and nobody waits for a row: at
		// 200 events a second it would be asked, and would answer, for each record of three topics.
		kgo.FetchMinBytes(fetchLeast), kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(fetchBytes), kgo.WithHooks(&g.pulse),
		kgo.OnPartitionsAssigned(g.assigned), kgo.OnPartitionsRevoked(g.revoked), kgo.OnPartitionsLost(g.lost),
	}
	if cfg.Instance != "" {
		opts = append(opts, kgo.InstanceID(cfg.Instance))
	}
	var err error
	g.client, err = cfg.Kafka.NewClient("recorder-group", log, opts...)
	return g, err
}

// joined reports whether the group counts this recorder in.
func (g *group) joined() bool {
	_, generation := g.client.GroupMetadata()
	return generation >= 0
}

// gather waits for records, takes what comes within a moment after the first, and has the batch in hand:
// finish or drop must follow. It returns nothing if ctx ends first.
func (g *group) gather(ctx context.Context, limit int, moment time.Duration) ([]*kgo.Record, error) {
	records, err := g.poll(ctx, limit)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	g.hand <- struct{}{}
	within, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	return g.fill(within, records, limit), nil
}

// follow is gather while something is held: it waits a moment only, and the batch that is in hand then may be empty. There
// is none in hand if ctx ends first.
func (g *group) follow(ctx context.Context, limit int, moment time.Duration) (records []*kgo.Record, inHand bool, err error) {
	soon, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	records, err = g.poll(soon, limit)
	if err != nil || len(records) == 0 && ctx.Err() != nil {
		return nil, false, err
	}
	g.hand <- struct{}{}
	if len(records) == 0 {
		return nil, true, nil
	}
	within, end := context.WithTimeout(ctx, moment)
	defer end()
	return g.fill(within, records, limit), true, nil
}

// fill adds what comes before ctx ends, until the batch is full.
func (g *group) fill(within context.Context, records []*kgo.Record, limit int) []*kgo.Record {
	size := bytes(records)
	for len(records) < limit && size < maxBatchBytes && within.Err() == nil {
		more, err := g.poll(within, limit-len(records))
		if err != nil {
			g.log.Debug("a batch is cut short", "error", err) // which the next poll says too
			break
		}
		records, size = append(records, more...), size+bytes(more)
	}
	return records
}

func bytes(records []*kgo.Record) (n int) {
	for _, r := range records {
		n += len(r.Key) + len(r.Value)
	}
	return n
}

// poll reads up to n records; none if ctx ends first. It errs when going on makes no sense.
func (g *group) poll(ctx context.Context, n int) ([]*kgo.Record, error) {
	fetches := g.client.PollRecords(ctx, n)
	var fatal error
	fetches.EachError(func(topic string, p int32, err error) {
		switch {
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		case errors.Is(err, kerr.FencedInstanceID):
			fatal = kafka.ErrFenced
		case errors.Is(err, kgo.ErrClientClosed):
			fatal = err
		default:
			err = kafka.Denied(err)
			g.pulse.Heard(err, time.Now())
			g.seldom.Warn(ctx, g.log, "kafka: fetch failed, going on", "group", g.name, "topic", topic, "partition", p, "error", err)
		}
	})
	if fatal != nil {
		return nil, fmt.Errorf("read in group %s: %w", g.name, fatal)
	}
	return fetches.Records(), nil
}

// finish puts the batch out of hand. What is written of it is committed, but for what was given away and what is
// held.
func (g *group) finish(ctx context.Context, records, held []*kgo.Record) {
	g.note(records, held)
	if err := g.commit(ctx); err != nil {
		g.seldom.Warn(ctx, g.log, "kafka: commit failed, it is tried again", "error", err)
	}
	<-g.hand
}

// drop puts the batch out of hand unwritten: it is read again.
func (g *group) drop() { <-g.hand }

// note notes all that was read as written, but for what is held.
func (g *group) note(read, held []*kgo.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range read {
		w := g.places[place{r.Topic, r.Partition}]
		if w == nil {
			continue
		}
		if w.first < 0 {
			w.first = r.Offset
		}
		if r.Offset >= w.read {
			w.read, w.epoch = r.Offset+1, r.LeaderEpoch
		}
	}
	upTo := map[place]int64{}
	for _, r := range held {
		at := place{r.Topic, r.Partition}
		w := g.places[at]
		if w == nil || w.first < 0 || r.Offset < w.first {
			continue // held since the partition was here before: who had it meanwhile has read the record
		}
		if known, is := upTo[at]; !is || r.Offset < known {
			upTo[at] = r.Offset
		}
	}
	for at, w := range g.places {
		next := w.read
		if first, is := upTo[at]; is {
			next = first
		}
		if next > w.next {
			w.next, w.dirty = next, true
		}
	}
}

// commit commits what is written and not committed. An error means only that it must be tried again.
func (g *group) commit(ctx context.Context) error {
	g.committing.Lock()
	defer g.committing.Unlock()
	offsets := g.uncommitted()
	if len(offsets) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	var failed error
	g.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = errors.Join(err, kafka.CommitErrors(resp))
	})
	if failed != nil {
		failed = kafka.Denied(failed)
		g.pulse.Heard(failed, time.Now())
		return fmt.Errorf("commit in group %s: %w", g.name, failed)
	}
	g.committed(offsets)
	return nil
}

func (g *group) uncommitted() map[string]map[int32]kgo.EpochOffset {
	g.mu.Lock()
	defer g.mu.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for p, w := range g.places {
		if !w.dirty {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[p.topic][p.partition] = kgo.EpochOffset{Epoch: w.epoch, Offset: w.next}
	}
	return offsets
}

func (g *group) committed(offsets map[string]map[int32]kgo.EpochOffset) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for topic, of := range offsets {
		for partition, o := range of {
			if w := g.places[place{topic, partition}]; w != nil {
				w.dirty = w.next > o.Offset
			}
		}
	}
}

func (g *group) assigned(_ context.Context, _ *kgo.Client, got map[string][]int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for topic, ids := range got {
		for _, id := range ids {
			g.places[place{topic, id}] = &written{first: -1}
		}
	}
}

// revoked gives partitions away, once the batch in hand is committed or has taken too long.
func (g *group) revoked(ctx context.Context, client *kgo.Client, gone map[string][]int32) {
	if len(gone) == 0 {
		return // a rebalance that takes nothing from here
	}
	patience := time.NewTimer(handoverTime)
	defer patience.Stop()
	select {
	case g.hand <- struct{}{}:
		if err := g.commit(ctx); err != nil {
			g.log.Warn("kafka: commit of partitions given away failed, their last records are read again", "error", err)
		}
		<-g.hand
	case <-patience.C:
	case <-ctx.Done():
	}
	g.lost(ctx, client, gone)
}

// lost drops partitions that another recorder may own already.
func (g *group) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	g.committing.Lock() // what is on its way arrives before they go
	defer g.committing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for topic, ids := range gone {
		for _, id := range ids {
			delete(g.places, place{topic, id})
		}
	}
}

// close leaves the group. A static member keeps its seat for the session timeout, so that a quick restart moves
// nothing.
func (g *group) close() { g.client.Close() }
