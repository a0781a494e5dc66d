package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	topicPrefix = "doorstep."
	retryTiers  = "2s,4s,8s"
	// offsetsTopic is where Kafka keeps what groups commit.
	offsetsTopic = "__consumer_offsets"
)

// Commits notes when the group of the senders committed each record as finished.
type Commits struct {
	cfg    kafka.Config
	topics wire.Topics
	client *kgo.Client
	end    context.CancelFunc
	ended  chan struct{}

	mu    sync.Mutex
	parts map[place]*committed
}

type place struct {
	topic     string
	partition int32
}

// committed is what is known of one partition.
type committed struct {
	upTo int64               // every offset below is committed
	at   map[int64]time.Time // when
}

// FollowCommits begins to follow the commits of a Doorstep with the default topic prefix and retry tiers of 2s,4s,8s.
func FollowCommits(brokers []string) (*Commits, error) {
	c := &Commits{
		cfg:   kafka.Config{Brokers: brokers, TopicPrefix: topicPrefix, RetryTiers: retryTiers},
		ended: make(chan struct{}), parts: map[place]*committed{},
	}
	var err error
	if c.topics, err = c.cfg.Topics(); err != nil {
		return nil, err
	}
	c.client, err = c.cfg.NewClient("fault-commits", slog.New(slog.DiscardHandler),
		kgo.ConsumeTopics(offsetsTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, c.end = context.WithCancel(context.Background())
	go func() {
		defer close(c.ended)
		for ctx.Err() == nil {
			c.client.PollFetches(ctx).EachRecord(c.note)
		}
	}()
	return c, nil
}

// Close ends it.
func (c *Commits) Close() {
	c.end()
	<-c.ended
	c.client.Close()
}

// note notes one record of Kafka's own topic.
func (c *Commits) note(r *kgo.Record) {
	var k kmsg.OffsetCommitKey
	var v kmsg.OffsetCommitValue
	if len(r.Key) < 2 || r.Key[0] != 0 || r.Key[1] > 1 || len(r.Value) == 0 {
		return // what is not a commit
	}
	if k.ReadFrom(r.Key) != nil || k.Group != topicPrefix+"sender" || v.ReadFrom(r.Value) != nil {
		return
	}
	at := time.UnixMilli(v.CommitTimestamp)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.parts[place{k.Topic, k.Partition}]
	if p == nil {
		p = &committed{at: map[int64]time.Time{}}
		c.parts[place{k.Topic, k.Partition}] = p
	}
	for ; p.upTo < v.Offset; p.upTo++ {
		p.mark(p.upTo, at)
	}
	for o := range kafka.FinishedBehind(v.Offset, v.Metadata) {
		p.mark(o, at)
	}
}

func (p *committed) mark(offset int64, at time.Time) {
	if _, known := p.at[offset]; !known {
		p.at[offset] = at
	}
}

// Records reads every record of the lanes, with when it was committed. hookOf gives the number of a webhook by its id; what is
// for others is left out.
func (c *Commits) Records(ctx context.Context, hookOf map[string]int) ([]Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Record
	var failed error
	lanes, err := kafka.NewFollower(c.cfg, "fault-lanes", slog.New(slog.DiscardHandler), func(r *kgo.Record) {
		d, err := wire.ReadDelivery(r)
		if err != nil {
			failed = fmt.Errorf("%s/%d at %d: %w", r.Topic, r.Partition, r.Offset, err)
			return
		}
		hook, ours := hookOf[d.WebhookID]
		if !ours {
			return
		}
		record := Record{Event: d.EventID, Hook: hook, Written: r.Timestamp}
		if p := c.parts[place{r.Topic, r.Partition}]; p != nil {
			record.Committed = p.at[r.Offset]
		}
		out = append(out, record)
	}, c.topics.Lanes()...)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- lanes.Run(ctx) }()
	select {
	case <-lanes.Ready():
	case <-ctx.Done():
		failed = ctx.Err()
	}
	end()
	return out, errors.Join(<-ended, failed)
}
