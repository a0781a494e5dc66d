package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// SessionTimeout is how long a group waits for a member that has gone without a word: a process
// that is back within it gets its partitions back at once. What others need to take over after it, up to
// a heartbeat, a rebalance and the work that has waited, fits into what remains of 10 s.
const SessionTimeout = 8 * time.Second

// commitTime bounds one commit: giving partitions away waits for the one under way.
const commitTime = 5 * time.Second

// lanesLinger is how long what is produced waits for company.
const lanesLinger = 5 * time.Millisecond

// MaxPoll is the most records that one Poll should ask for.
const MaxPoll = 500

// LanesConfig says what to read and as whom.
type LanesConfig struct {
	Topics   []string // all with the same number of partitions
	Group    string
	Instance string // static membership; empty: dynamic
	// Revoked is told which partitions are being given away, before that waits for the work begun on
	// them. It must drop what has not begun.
	Revoked func([]*Part)
	// Released is told which partitions have been given away, after their last commit.
	Released func([]*Part)
	// Grace bounds the wait for begun work when partitions are given away; below the rebalance timeout of 60 s.
	Grace time.Duration
}

// Lanes reads topics of which partition p of all belongs to one member, and commits what is finished
// although records finish out of order. Its client also produces.
type Lanes struct {
	cfg    LanesConfig
	client *kgo.Client
	writer *Writer
	log    *slog.Logger
	pulse  Pulse
	said   told

	// closing ends what the client waits for before it closes.
	closing context.Context
	close   context.CancelFunc

	// committing is held from reading what is finished to its answer: a commit that was read before another
	// must not arrive after it, and undo it.
	committing sync.Mutex

	writing   sync.Mutex
	unwritten []unwritten // in order; what ACLs do not allow to write
	holding   atomic.Bool // something is unwritten: what every write asks, without waiting for another

	mu     sync.Mutex
	parts  map[partition]*Part
	unsure bool // said so in the log

	pollBegan time.Time // zero: no Poll is under way
	waited    bool      // a Poll had to wait for records since Lag was asked last
}

// Batch is what one poll read of one partition.
type Batch struct {
	Part    *Part
	Records []*kgo.Record
}

// ErrFenced says that another process with the same instance has taken this one's place.
var ErrFenced = errors.New("another process runs with the same instance: give each its own DOORSTEP_INSTANCE")

// NewLanes makes the member; it joins its group with the first Poll.
func NewLanes(kafka Config, cfg LanesConfig, log *slog.Logger, opts ...kgo.Opt) (*Lanes, error) {
	l := &Lanes{cfg: cfg, log: log, parts: map[partition]*Part{}}
	l.closing, l.close = context.WithCancel(context.Background())
	opts = append([]kgo.Opt{
		kgo.ConsumerGroup(cfg.Group), kgo.ConsumeTopics(cfg.Topics...), kgo.Balancers(newLaneBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(SessionTimeout), kgo.HeartbeatInterval(time.Second),
		// Little at once: what comes new waits behind a fetch of parked records that came due. A record that is larger comes
		// by itself.
		kgo.FetchMaxPartitionBytes(64 << 10), kgo.FetchMaxBytes(1 << 20),
		// A partition that is resumed is asked for when the fetch under way ends, at the latest.
		kgo.FetchMaxWait(100 * time.Millisecond),
		// What is written here nobody waits for but the next commit: one request for many records costs both sides a
		// fraction of one for each few.
		kgo.ProducerLinger(lanesLinger),
		kgo.WithHooks(&l.pulse), kgo.OnPartitionsAssigned(l.assigned), kgo.OnPartitionsRevoked(l.revoked), kgo.OnPartitionsLost(l.lost),
	}, opts...)
	if cfg.Instance != "" {
		opts = append(opts, kgo.InstanceID(cfg.Instance))
	}
	var err error
	if l.client, err = kafka.NewClient("lanes", log, opts...); err != nil {
		return nil, err
	}
	l.writer = NewWriter(l.client, log)
	return l, nil
}

// Client is the client beneath, to ask brokers with.
func (l *Lanes) Client() *kgo.Client { return l.client }

// Writer writes what does not follow from work; what does is written by Produce.
func (l *Lanes) Writer() *Writer { return l.writer }

// Poll returns what was read, at most n records. It errs when going on makes no sense.
func (l *Lanes) Poll(ctx context.Context, n int) ([]Batch, error) {
	fetches := l.poll(ctx, n)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var fatal error
	fetches.EachError(func(topic string, p int32, err error) {
		if errors.Is(err, kerr.FencedInstanceID) {
			fatal = ErrFenced
		} else if errors.Is(err, kgo.ErrClientClosed) {
			fatal = err
		}
		err = Denied(err)
		l.pulse.Heard(err, time.Now())
		if fatal == nil && l.said.due("fetch", time.Now()) {
			l.log.Warn("kafka: fetch failed, going on", "group", l.cfg.Group, "topic", topic, "partition", p, "error", err)
		}
	})
	if fatal != nil {
		return nil, fmt.Errorf("read lanes: %w", fatal)
	}
	var out []Batch
	l.mu.Lock()
	defer l.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		part := l.parts[partition{p.Topic, p.Partition}]
		if part != nil && len(p.Records) > 0 {
			part.reading.next = p.Records[len(p.Records)-1].Offset + 1
			out = append(out, Batch{part, p.Records})
		}
	})
	return out, nil
}

// poll is the client's, and notes whether it had to wait.
func (l *Lanes) poll(ctx context.Context, n int) kgo.Fetches {
	l.mu.Lock()
	l.pollBegan = time.Now()
	l.mu.Unlock()
	fetches := l.client.PollRecords(ctx, n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited = l.waited || time.Since(l.pollBegan) > emptied
	l.pollBegan = time.Time{}
	return fetches
}

// Pause stops reading a partition until Resume. What was fetched ahead is fetched again then.
func (l *Lanes) Pause(p *Part) {
	l.hold(p, true)
	l.client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.ID}})
}

// Resume goes on reading a partition.
func (l *Lanes) Resume(p *Part) {
	l.client.ResumeFetchPartitions(map[string][]int32{p.Topic: {p.ID}})
	l.hold(p, false)
}

// Parts are the partitions that this member owns now.
func (l *Lanes) Parts() []*Part {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*Part, 0, len(l.parts))
	for _, p := range l.parts {
		out = append(out, p)
	}
	return out
}

// Silent errs when the group has not answered for so long that it counts this member out.
func (l *Lanes) Silent() error { return l.pulse.Silent(time.Now()) }

// Sure reports whether the group still counts this member in, as far as can be known, and what follows from work is
// written. While it is false, the brokers have not answered for so long that others may own the partitions soon, or allow
// no writing: nothing may begin, and nothing is lost by waiting.
func (l *Lanes) Sure() bool {
	if l.held() {
		return false
	}
	sure := l.pulse.sure(time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parts) > 0 && sure == l.unsure {
		l.unsure = !sure
		if sure {
			l.log.Info("kafka: the group answers again, work goes on", "group", l.cfg.Group)
		} else {
			l.log.Warn("kafka: the group does not answer, nothing new begins until it does", "group", l.cfg.Group, "for", sureFor)
		}
	}
	return sure
}

// Commit commits what has finished since the last commit. An error means only that it must be tried again.
func (l *Lanes) Commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	return l.commit(ctx, l.Parts)
}

// commit commits what has finished of the partitions that of returns. A partition that is given away
// meanwhile is left to that, which commits it last.
func (l *Lanes) commit(ctx context.Context, of func() []*Part) error {
	l.committing.Lock()
	defer l.committing.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	metadata := map[partition]string{}
	var dirty []*Part
	for _, p := range of() {
		offset, meta, ok := p.commit()
		if !ok {
			continue
		}
		dirty = append(dirty, p)
		if offsets[p.Topic] == nil {
			offsets[p.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[p.Topic][p.ID] = kgo.EpochOffset{Epoch: -1, Offset: offset}
		metadata[partition{p.Topic, p.ID}] = meta
	}
	if len(dirty) == 0 {
		return nil
	}
	withMeta := kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			for j := range t.Partitions {
				meta := metadata[partition{t.Topic, t.Partitions[j].Partition}]
				t.Partitions[j].Metadata = &meta
			}
		}
		return nil
	})
	var failed error
	l.client.CommitOffsetsSync(withMeta, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = errors.Join(err, CommitErrors(resp))
	})
	if failed != nil {
		for _, p := range dirty {
			p.touch()
		}
		failed = Denied(failed)
		l.pulse.Heard(failed, time.Now())
		return fmt.Errorf("commit %d partitions of group %s: %w", len(dirty), l.cfg.Group, failed)
	}
	return nil
}

// CommitErrors are what a group's coordinator refused of a commit.
func CommitErrors(resp *kmsg.OffsetCommitResponse) error {
	if resp == nil {
		return nil
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// Close stops reading. A static member keeps its seat for the session timeout, so a quick restart
// moves nothing. Commit before it.
func (l *Lanes) Close() {
	l.close() // else, with the brokers away, the client would wait for ever for commits that are being asked for
	l.writer.Close()
	l.client.Close()
}

// assigned makes the trackers of new partitions from their commits, before anything of them is read.
func (l *Lanes) assigned(ctx context.Context, client *kgo.Client, got map[string][]int32) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()
	commits := l.fetchCommits(ctx, client)
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic, ids := range got {
		for _, id := range ids {
			c := commits[partition{topic, id}]
			l.parts[partition{topic, id}] = NewPart(topic, id, max(c.At, 0), c.Metadata)
			// A partition that was paused when it was given away must not come back paused.
			client.ResumeFetchPartitions(map[string][]int32{topic: {id}})
		}
	}
}

// fetchCommits asks for the group's commits, again until it is answered or ctx ends. Without an
// answer nothing is known to be finished, which repeats work and loses none.
func (l *Lanes) fetchCommits(ctx context.Context, client *kgo.Client) map[partition]kadm.Offset {
	out := map[partition]kadm.Offset{}
	for {
		resp, err := NewAdmin(client).GroupOffsets(ctx, l.cfg.Group)
		if err == nil {
			err = resp.Error()
		}
		if err == nil {
			resp.Each(func(o kadm.OffsetResponse) { out[partition{o.Topic, o.Partition}] = o.Offset })
			return out
		}
		if !wait(ctx, 100*time.Millisecond) {
			l.log.Warn("kafka: commits not read, finished work may be repeated", "group", l.cfg.Group, "error", Denied(err))
			return out
		}
	}
}

// revoked gives partitions away: nothing new begins on them, what has begun finishes and is committed.
func (l *Lanes) revoked(ctx context.Context, _ *kgo.Client, gone map[string][]int32) {
	parts := l.take(gone)
	for _, p := range parts {
		p.lose()
	}
	l.cfg.Revoked(parts)
	waitCtx, cancel := context.WithTimeout(ctx, l.cfg.Grace)
	defer cancel()
	for _, p := range parts {
		p.drain(waitCtx)
	}
	commitCtx, cancelCommit := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancelCommit()
	if err := l.commit(commitCtx, func() []*Part { return parts }); err != nil {
		l.log.Warn("kafka: commit of partitions given away failed, their last work is repeated", "error", err)
	}
	l.cfg.Released(parts)
}

// lost drops partitions that another member may own already.
func (l *Lanes) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	parts := l.take(gone)
	for _, p := range parts {
		p.lose()
	}
	l.cfg.Revoked(parts)
	l.cfg.Released(parts)
}

func (l *Lanes) take(gone map[string][]int32) []*Part {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*Part
	for topic, ids := range gone {
		for _, id := range ids {
			if p := l.parts[partition{topic, id}]; p != nil {
				out = append(out, p)
				delete(l.parts, partition{topic, id})
			}
		}
	}
	return out
}
