package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// patience is for one change of a group.
const patience = 40 * time.Second

// next is what comes next from a channel.
func next[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	return v
}

// road is a broker with one lane.
type road struct {
	t      *testing.T
	cfg    Config
	lane   string
	client *kgo.Client
}

func newRoad(t *testing.T, partitions int32) *road {
	t.Helper()
	r := &road{t: t, cfg: Config{Brokers: testkit.Broker(t), TopicPrefix: testkit.Prefix(t), RetryTiers: "1m"}}
	r.lane = r.cfg.TopicPrefix + "lane"
	testkit.Topics(t, r.cfg.Brokers, partitions, r.lane)
	var err error
	if r.client, err = r.cfg.NewClient("test", slog.New(slog.DiscardHandler), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func (r *road) group() string { return r.cfg.TopicPrefix + "sender" }

// put writes n records to one partition.
func (r *road) put(partition int32, n int) {
	r.t.Helper()
	for range n {
		rec := &kgo.Record{Topic: r.lane, Partition: partition, Value: []byte("v")}
		if err := r.client.ProduceSync(r.t.Context(), rec).FirstErr(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// committed is what the group has committed of partition 0.
func (r *road) committed() kadm.Offset {
	r.t.Helper()
	all, err := kadm.NewClient(r.client).FetchOffsets(r.t.Context(), r.group())
	if err != nil {
		r.t.Fatal(err)
	}
	o, _ := all.Lookup(r.lane, 0)
	return o.Offset
}

// member reads lanes until it is stopped or the test ends, and begins every record.
type member struct {
	*Lanes
	begun   func(*member, *Part, int64) // must end the work that has begun, at some time
	revoked atomic.Int64                // partitions that it had to give away
	onTold  func()                      // when it is told so
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // once done
}

// join starts a dynamic member, which leaves its group when it stops.
func (r *road) join(begun func(*member, *Part, int64), options ...func(*member, *LanesConfig)) *member {
	r.t.Helper()
	m := &member{begun: begun, done: make(chan struct{}), onTold: func() {}}
	cfg := LanesConfig{
		Topics: []string{r.lane}, Group: r.group(), Grace: patience / 2, Released: func([]*Part) {},
		Revoked: func(parts []*Part) {
			m.revoked.Add(int64(len(parts)))
			if len(parts) > 0 {
				m.onTold()
			}
		},
	}
	for _, o := range options {
		o(m, &cfg)
	}
	var err error
	if m.Lanes, err = NewLanes(r.cfg, cfg, slog.New(slog.DiscardHandler)); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go m.read(ctx)
	r.t.Cleanup(m.stop)
	return m
}

func (m *member) read(ctx context.Context) {
	defer close(m.done)
	for {
		batches, err := m.Poll(ctx, MaxPoll)
		if err != nil {
			m.err = err
			return
		}
		for _, b := range batches {
			for _, rec := range b.Records {
				if b.Part.Start(rec.Offset) && b.Part.Begin() {
					m.begun(m, b.Part, rec.Offset)
				}
			}
		}
		_ = m.Commit(ctx) // the next one tries again
	}
}

// stop ends the member as a service does: no more reading, a commit, and off.
func (m *member) stop() {
	m.cancel()
	<-m.done
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = m.Commit(ctx)
	m.Close()
}

func TestLanesFinishedWorkBehindAStuckRecordSurvivesARestart(t *testing.T) {
	r := newRoad(t, 1)
	r.put(0, 10)
	const stuck = 3
	var finished atomic.Int64
	var part atomic.Pointer[Part]
	first := r.join(func(_ *member, p *Part, offset int64) {
		if offset == stuck {
			part.Store(p)
			return
		}
		p.Done(offset)
		finished.Add(1)
	})
	testkit.Eventually(t, patience, func() error {
		if n := finished.Load(); n != 9 || part.Load() == nil {
			return fmt.Errorf("%d records are done", n)
		}
		return nil
	})
	part.Load().GiveUp()
	first.stop()
	if o := r.committed(); o.At != stuck || o.Metadata == "" || len(decodeSpans(o.At, o.Metadata)) != 1 {
		t.Errorf("committed %d with metadata %q, want the stuck record %d and one run behind it", o.At, o.Metadata, stuck)
	}

	again := make(chan int64, 20)
	second := r.join(func(_ *member, p *Part, offset int64) {
		again <- offset
		p.Done(offset)
	})
	r.put(0, 1)
	got := []int64{next(t, again), next(t, again)}
	if diff := cmp.Diff([]int64{stuck, 10}, got); diff != "" {
		t.Errorf("a new owner does (-want +got): %s", diff)
	}
	second.stop()
	if o := r.committed(); o.At != 11 || o.Metadata != "" {
		t.Errorf("committed %d with metadata %q in the end, want 11 alone", o.At, o.Metadata)
	}
}

// handOver is a member with record 0 of two partitions begun, of which it must give one to another.
type handOver struct {
	from  *member
	begun []*Part       // record 0 of both; somebody must end it
	told  chan struct{} // it knows that it must give one away
	given chan int64    // what the other begins then; record 1 waits behind record 0
}

func newHandOver(r *road, grace time.Duration) *handOver {
	r.t.Helper()
	h := &handOver{told: make(chan struct{}, 10), given: make(chan int64, 10)}
	begun := make(chan *Part, 2)
	h.from = r.join(func(_ *member, p *Part, _ int64) { begun <- p }, func(m *member, c *LanesConfig) {
		c.Grace = grace
		m.onTold = func() { h.told <- struct{}{} }
	})
	r.put(0, 1)
	r.put(1, 1)
	h.begun = []*Part{next(r.t, begun), next(r.t, begun)}
	r.put(0, 1)
	r.put(1, 1)
	next(r.t, begun).GiveUp()
	next(r.t, begun).GiveUp()
	r.join(func(_ *member, p *Part, offset int64) {
		h.given <- offset
		p.Done(offset)
	})
	return h
}

func TestLanesWaitForBegunWorkBeforeTheyGiveAPartitionAway(t *testing.T) {
	h := newHandOver(newRoad(t, 2), patience/2)
	next(t, h.told)
	var ended atomic.Bool
	time.AfterFunc(300*time.Millisecond, func() {
		ended.Store(true)
		for _, p := range h.begun {
			p.Done(0)
		}
	})
	offset := next(t, h.given)
	if !ended.Load() {
		t.Error("the new owner began while the old one was at work")
	}
	if offset != 1 {
		t.Errorf("the new owner does record %d, which the old one had finished", offset)
	}
}

func TestLanesWaitForBegunWorkNoLongerThanTheirGrace(t *testing.T) {
	h := newHandOver(newRoad(t, 2), 200*time.Millisecond)
	if offset := next(t, h.given); offset != 0 {
		t.Errorf("the new owner begins with record %d, want the one that was never finished", offset)
	}
	gone := 0
	for _, p := range h.begun {
		if p.Gone() {
			gone++
		}
		p.GiveUp()
	}
	if gone != 1 || h.from.revoked.Load() != 1 {
		t.Errorf("%d partitions are gone and %d were given away, want 1", gone, h.from.revoked.Load())
	}
}

func TestLanesPauseAndResume(t *testing.T) {
	r := newRoad(t, 2)
	seen := make(chan int32, 20)
	m := r.join(func(_ *member, p *Part, offset int64) {
		seen <- p.ID
		p.Done(offset)
	})
	testkit.Eventually(t, patience, func() error {
		if n := len(m.Parts()); n != 2 {
			return fmt.Errorf("%d partitions are the member's", n)
		}
		return nil
	})
	paused := m.Parts()[0]
	m.Pause(paused)
	r.put(paused.ID, 1)
	r.put(1-paused.ID, 3)
	for range 3 {
		if id := next(t, seen); id == paused.ID {
			t.Fatal("a record of a paused partition")
		}
	}
	m.Resume(paused)
	if id := next(t, seen); id != paused.ID {
		t.Errorf("a record of partition %d, want the one that goes on", id)
	}
}
