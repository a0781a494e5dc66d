package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
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

// road is a broker with lanes.
type road struct {
	t      *testing.T
	cfg    Config
	topics []string
	client *kgo.Client
}

func newRoad(t *testing.T, lanes int, partitions int32) *road {
	t.Helper()
	r := &road{t: t, cfg: Config{Brokers: testkit.Broker(t), TopicPrefix: testkit.Prefix(t), RetryTiers: "1m"}}
	for i := range lanes {
		r.topics = append(r.topics, fmt.Sprint(r.cfg.TopicPrefix, "lane", i))
	}
	testkit.Topics(t, r.cfg.Brokers, partitions, r.topics...)
	var err error
	if r.client, err = r.cfg.NewClient("test", slog.New(slog.DiscardHandler), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func (r *road) group() string { return r.cfg.TopicPrefix + "sender" }

// put writes n records to one partition.
func (r *road) put(topic string, partition int32, n int) {
	r.t.Helper()
	for range n {
		rec := &kgo.Record{Topic: topic, Partition: partition, Value: []byte("v")}
		if err := r.client.ProduceSync(r.t.Context(), rec).FirstErr(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// committed is what the group has committed of partition 0 of the first lane.
func (r *road) committed() kadm.Offset {
	r.t.Helper()
	all, err := kadm.NewClient(r.client).FetchOffsets(r.t.Context(), r.group())
	if err != nil {
		r.t.Fatal(err)
	}
	o, _ := all.Lookup(r.topics[0], 0)
	return o.Offset
}

// member reads lanes until it is stopped or the test ends, and begins every record.
type member struct {
	*Lanes
	name    string
	begun   func(*member, *Part, int64) // must end the work that has begun, at some time
	revoked atomic.Int64                // partitions that it had to give away
	onTold  func()                      // when it is told so
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // once done
}

func finish(_ *member, p *Part, offset int64) { p.Done(offset) }

type memberOption func(*member, *LanesConfig)

func static(m *member, c *LanesConfig) { c.Instance = m.name }

// join starts a member; one without options is dynamic, and leaves its group when it stops.
func (r *road) join(name string, begun func(*member, *Part, int64), options ...memberOption) *member {
	r.t.Helper()
	m := &member{name: name, begun: begun, done: make(chan struct{}), onTold: func() {}}
	cfg := LanesConfig{
		Topics: r.topics, Group: r.group(), Grace: patience / 2, Released: func([]*Part) {},
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

// owns are the member's partitions as "topic/id".
func (m *member) owns() []string {
	var out []string
	for _, p := range m.Parts() {
		out = append(out, fmt.Sprint(p.Topic, "/", p.ID))
	}
	slices.Sort(out)
	return out
}

// settled errs unless the members have all partitions, each id whole with one of them, evenly.
func (r *road) settled(partitions int, members ...*member) error {
	owner := map[int32]string{}
	total := 0
	for _, m := range members {
		ids := map[int32]int{}
		for _, p := range m.Parts() {
			ids[p.ID]++
			total++
		}
		for id, lanes := range ids {
			if owner[id] != "" || lanes != len(r.topics) {
				return fmt.Errorf("%s has %d lanes of partition %d, of which %q has some", m.name, lanes, id, owner[id])
			}
			owner[id] = m.name
		}
		if least := partitions / len(members); len(ids) < least || len(ids) > least+1 {
			return fmt.Errorf("%s has partitions %v of %d among %d members", m.name, slices.Sorted(maps.Keys(ids)), partitions, len(members))
		}
	}
	if total != partitions*len(r.topics) {
		return fmt.Errorf("%d partitions of %d lanes are with somebody", total, len(r.topics))
	}
	return nil
}

// ledger notes who did what, and how often.
type ledger struct {
	mu   sync.Mutex
	did  map[string]int   // "topic/partition/offset"
	busy map[int32]string // the member at work on a partition id, in any lane
	bad  []string
}

func (l *ledger) begun(m *member, p *Part, offset int64) {
	l.mu.Lock()
	l.did[fmt.Sprint(p.Topic, "/", p.ID, "/", offset)]++
	if other := l.busy[p.ID]; other != "" {
		l.bad = append(l.bad, fmt.Sprintf("%s and %s work on partition %d at once", m.name, other, p.ID))
	}
	l.busy[p.ID] = m.name
	l.mu.Unlock()
	wait(context.Background(), time.Millisecond) // the work
	l.mu.Lock()
	l.busy[p.ID] = ""
	l.mu.Unlock()
	p.Done(offset)
}

// Members come and go while records flow: partition p of every lane always has one owner, who is
// the same for all lanes, and nothing is done twice or left.
func TestLanesStayTogether(t *testing.T) {
	const partitions = 5
	r := newRoad(t, 3, partitions)
	book := &ledger{did: map[string]int{}, busy: map[int32]string{}}
	var written int
	flow := func() {
		for _, topic := range r.topics {
			for p := range int32(partitions) {
				r.put(topic, p, 4)
				written += 4
			}
		}
	}
	settle := func(members ...*member) {
		t.Helper()
		flow()
		testkit.Eventually(t, patience, func() error { return r.settled(partitions, members...) })
		flow()
	}
	a := r.join("a", book.begun)
	settle(a)
	b := r.join("b", book.begun)
	settle(a, b)
	c := r.join("c", book.begun)
	settle(a, b, c)
	b.stop()
	settle(a, c)
	d := r.join("d", book.begun)
	settle(a, c, d)

	testkit.Eventually(t, patience, func() error {
		book.mu.Lock()
		defer book.mu.Unlock()
		if len(book.did) != written {
			return fmt.Errorf("%d of %d records are done", len(book.did), written)
		}
		return nil
	})
	book.mu.Lock()
	defer book.mu.Unlock()
	for record, times := range book.did {
		if times != 1 {
			t.Errorf("%s was done %d times", record, times)
		}
	}
	if len(book.bad) > 0 {
		t.Error(book.bad)
	}
}

func TestLanesFinishedWorkBehindAStuckRecordSurvivesARestart(t *testing.T) {
	r := newRoad(t, 1, 1)
	r.put(r.topics[0], 0, 10)
	const stuck = 3
	var finished atomic.Int64
	var part atomic.Pointer[Part]
	first := r.join("first", func(_ *member, p *Part, offset int64) {
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
	second := r.join("second", func(_ *member, p *Part, offset int64) {
		again <- offset
		p.Done(offset)
	})
	r.put(r.topics[0], 0, 1)
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
	h.from = r.join("from", func(_ *member, p *Part, _ int64) { begun <- p }, func(m *member, c *LanesConfig) {
		c.Grace = grace
		m.onTold = func() { h.told <- struct{}{} }
	})
	r.put(r.topics[0], 0, 1)
	r.put(r.topics[0], 1, 1)
	h.begun = []*Part{next(r.t, begun), next(r.t, begun)}
	r.put(r.topics[0], 0, 1)
	r.put(r.topics[0], 1, 1)
	next(r.t, begun).GiveUp()
	next(r.t, begun).GiveUp()
	r.join("to", func(_ *member, p *Part, offset int64) {
		h.given <- offset
		p.Done(offset)
	})
	return h
}

func TestLanesWaitForBegunWorkBeforeTheyGiveAPartitionAway(t *testing.T) {
	h := newHandOver(newRoad(t, 1, 2), patience/2)
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
	h := newHandOver(newRoad(t, 1, 2), 200*time.Millisecond)
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

func TestLanesOfAStaticMemberThatRestartsDoNotMove(t *testing.T) {
	r := newRoad(t, 2, 4)
	a, b := r.join("a", finish, static), r.join("b", finish, static)
	testkit.Eventually(t, patience, func() error { return r.settled(4, a, b) })
	was, kept := a.owns(), b.owns()
	moved := b.revoked.Load()
	began := time.Now()
	a.stop()
	again := r.join("a", finish, static)
	testkit.Eventually(t, patience, func() error { return r.settled(4, again, b) })
	if took := time.Since(began); took >= SessionTimeout {
		t.Errorf("back after %s: the seat was not kept", took)
	}
	if diff := cmp.Diff(was, again.owns()); diff != "" {
		t.Errorf("the restarted member's partitions: %s", diff)
	}
	if diff := cmp.Diff(kept, b.owns()); diff != "" || b.revoked.Load() != moved {
		t.Errorf("the other member was disturbed: %s", diff)
	}
}

func TestLanesOfTheSameInstanceFenceTheFirst(t *testing.T) {
	r := newRoad(t, 1, 1)
	first := r.join("a", finish, static)
	testkit.Eventually(t, patience, func() error { return r.settled(1, first) })
	r.join("a", finish, static)
	next(t, first.done)
	if !errors.Is(first.err, ErrFenced) {
		t.Errorf("the first ended with: %v", first.err)
	}
	r.put(r.topics[0], 0, 1)
	testkit.Eventually(t, patience, func() error {
		if o := r.committed(); o.At != 1 {
			return fmt.Errorf("the second has committed %d", o.At)
		}
		return nil
	})
}

func TestLanesPauseAndResume(t *testing.T) {
	r := newRoad(t, 1, 2)
	seen := make(chan int32, 20)
	m := r.join("a", func(_ *member, p *Part, offset int64) {
		seen <- p.ID
		p.Done(offset)
	})
	testkit.Eventually(t, patience, func() error { return r.settled(2, m) })
	paused := m.Parts()[0]
	m.Pause(paused)
	r.put(paused.Topic, paused.ID, 1)
	r.put(paused.Topic, 1-paused.ID, 3)
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
