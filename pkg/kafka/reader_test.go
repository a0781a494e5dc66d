package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// shelf is a topic of three partitions, and what a Reader should find there.
type shelf struct {
	t      *testing.T
	cfg    Config
	topic  string
	client *kgo.Client
	reader *Reader
	want   map[delivery.Position]string // value
	absent []delivery.Position
}

const shelfPartitions = 3

func newShelf(t *testing.T, brokers []string, prefix string) *shelf {
	t.Helper()
	s := &shelf{
		t: t, cfg: Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: "1m"}, topic: prefix + "shelf",
		want: map[delivery.Position]string{},
	}
	testkit.Topics(t, brokers, shelfPartitions, s.topic)
	s.client = s.newClient()
	var err error
	if s.reader, err = NewReader(s.cfg, "reader", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.reader.Close)
	return s
}

func (s *shelf) newClient(opts ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	client, err := s.cfg.NewClient("test", slog.New(slog.DiscardHandler),
		append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	return client
}

// put writes values as one batch, so far as they fit.
func (s *shelf) put(client *kgo.Client, partition int32, values ...string) []delivery.Position {
	s.t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: s.topic, Partition: partition, Value: []byte(v)}
	}
	if err := client.ProduceSync(s.t.Context(), records...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	at := make([]delivery.Position, len(values))
	for i, r := range records {
		at[i] = delivery.Position{Topic: s.topic, Partition: partition, Offset: r.Offset}
	}
	return at
}

// keep is put for what is to be found.
func (s *shelf) keep(client *kgo.Client, partition int32, values ...string) []delivery.Position {
	s.t.Helper()
	at := s.put(client, partition, values...)
	for i, p := range at {
		s.want[p] = values[i]
	}
	return at
}

// transact writes values in a transaction.
func (s *shelf) transact(client *kgo.Client, partition int32, end kgo.TransactionEndTry, values ...string) []delivery.Position {
	s.t.Helper()
	if err := client.BeginTransaction(); err != nil {
		s.t.Fatal(err)
	}
	at := s.put(client, partition, values...)
	if err := client.EndTransaction(s.t.Context(), end); err != nil {
		s.t.Fatal(err)
	}
	last := at[len(at)-1]
	last.Offset++
	s.absent = append(s.absent, last) // the marker
	return at
}

func (s *shelf) all() []delivery.Position {
	at := slices.Clone(s.absent)
	for p := range s.want {
		at = append(at, p)
	}
	rand.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
	return at
}

// check reads positions and compares.
func (s *shelf) check(ctx context.Context, at []delivery.Position) error {
	got, err := s.reader.ReadAt(ctx, at)
	if err != nil {
		return err
	}
	for _, p := range at {
		value, want := s.want[p]
		r := got[p]
		switch {
		case want && r == nil:
			return fmt.Errorf("nothing at %v", p)
		case !want && r != nil:
			return fmt.Errorf("at %v stands %.20q", p, r.Value)
		case want && (string(r.Value) != value || r.Topic != p.Topic || r.Partition != p.Partition || r.Offset != p.Offset):
			return fmt.Errorf("at %v stands %.20q of %s/%d/%d, want %.20q", p, r.Value, r.Topic, r.Partition, r.Offset, value)
		}
	}
	for p := range got {
		if !slices.Contains(at, p) {
			return fmt.Errorf("%v was not asked for", p)
		}
	}
	return nil
}

// fill writes what a partition can hold: single records, batches, large ones, transactions of both ends.
func (s *shelf) fill() {
	s.t.Helper()
	tx := s.newClient(kgo.TransactionalID(s.cfg.TopicPrefix + "shelf"))
	for partition := range int32(shelfPartitions) {
		s.absent = append(s.absent, s.put(s.client, partition, "gone 1", "gone 2", "gone 3")...)
		for i := range 20 {
			s.keep(s.client, partition, fmt.Sprint("single ", i))
		}
		var batch []string
		for i := range 300 {
			batch = append(batch, fmt.Sprint("batched ", i, strings.Repeat(".", i)))
		}
		s.keep(s.client, partition, batch...)
		noise := make([]byte, MaxRecordBytes)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		s.keep(s.client, partition, string(noise))
		s.keep(s.client, partition, strings.Repeat("large ", MaxRecordBytes/6), "behind it")
		s.absent = append(s.absent, s.transact(tx, partition, kgo.TryAbort, "aborted 1", "aborted 2")...)
		s.keep(s.client, partition, "between")
		for i, at := range s.transact(tx, partition, kgo.TryCommit, "committed 0", "committed 1") {
			s.want[at] = fmt.Sprint("committed ", i)
		}
		s.absent = append(s.absent, s.transact(tx, partition, kgo.TryAbort, "aborted 3")...)
		last := s.absent[len(s.absent)-1]
		for _, d := range []int64{2, 3, 1000} { // behind its marker
			last.Offset += d
			s.absent = append(s.absent, last)
		}
	}
	s.trim(3)
	s.absent = append(s.absent, delivery.Position{}, delivery.Position{Topic: s.topic, Partition: 99},
		delivery.Position{Topic: s.topic, Partition: -1}, delivery.Position{Topic: s.topic, Offset: -1},
		delivery.Position{Topic: s.cfg.TopicPrefix + "nothing", Offset: 7})
}

// trim deletes what lies before an offset of every partition, as retention does.
func (s *shelf) trim(before int64) {
	s.t.Helper()
	offsets := kadm.Offsets{}
	for p := range int32(shelfPartitions) {
		offsets.AddOffset(s.topic, p, before, -1)
	}
	deleted, err := kadm.NewClient(s.client).DeleteRecords(s.t.Context(), offsets)
	if err = errors.Join(err, deleted.Error()); err != nil {
		s.t.Fatal(err)
	}
}

func TestReadAt(t *testing.T) {
	prefix := testkit.Prefix(t)
	s := newShelf(t, testkit.Broker(t), prefix)
	s.fill()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	all := s.all()
	if err := s.check(ctx, append(all, all[:10]...)); err != nil {
		t.Fatal("all at once: ", err)
	}
	for p := range s.want {
		if len(s.want[p]) < 30 || p.Partition == 1 {
			continue // each alone takes a while
		}
		if err := s.check(ctx, []delivery.Position{p}); err != nil {
			t.Fatal("one alone: ", err)
		}
	}
	if got, err := s.reader.ReadAt(ctx, nil); len(got) != 0 || err != nil {
		t.Errorf("nothing asked for: %v, %v", got, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for range 8 {
		g.Go(func() error {
			for range 20 {
				some := s.all()[:1+rand.IntN(20)]
				if err := s.check(ctx, slices.DeleteFunc(some, func(p delivery.Position) bool { _, is := s.want[p]; return !is })); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error("at the same time: ", err)
	}
}

// What the recorder has read stays readable; what is in a transaction that has not ended is not.
func TestReadAtSeesWhatIsCommitted(t *testing.T) {
	prefix := testkit.Prefix(t)
	s := newShelf(t, testkit.Broker(t), prefix)
	tx := s.newClient(kgo.TransactionalID(prefix + "open"))
	s.keep(s.client, 0, "before")
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	open := s.put(tx, 0, "open")
	if err := s.check(t.Context(), append(s.all(), open...)); err != nil {
		t.Fatal(err)
	}
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	s.want[open[0]] = "open"
	testkit.Eventually(t, 10*time.Second, func() error { return s.check(t.Context(), s.all()) })
}

// Retention may take a position between two looks, and a topic may be made later, or made anew.
func TestReadAtWhileTopicsChange(t *testing.T) {
	prefix := testkit.Prefix(t)
	s := newShelf(t, testkit.Broker(t), prefix)
	adm := kadm.NewClient(s.client)
	s.keep(s.client, 0, "a", "b", "c")
	later := delivery.Position{Topic: prefix + "later"}
	s.absent = append(s.absent, later)
	if err := s.check(t.Context(), s.all()); err != nil {
		t.Fatal(err)
	}
	first := delivery.Position{Topic: s.topic}
	delete(s.want, first)
	s.absent = append(s.absent, first)
	s.put(s.client, 1, "gone")
	s.put(s.client, 2, "gone")
	s.trim(1)
	if err := s.check(t.Context(), s.all()); err != nil {
		t.Fatal("after retention: ", err)
	}
	testkit.Topics(t, s.cfg.Brokers, 1, later.Topic)
	if err := s.client.ProduceSync(t.Context(), &kgo.Record{Topic: later.Topic, Value: []byte("late")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s.want[later] = "late"
	s.absent = s.absent[1:]
	testkit.Eventually(t, 10*time.Second, func() error { return s.check(t.Context(), s.all()) })
	if deleted, err := adm.DeleteTopics(t.Context(), later.Topic); errors.Join(err, deleted.Error()) != nil {
		t.Fatal(err, deleted)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		made, err := adm.CreateTopics(t.Context(), 1, -1, nil, later.Topic)
		return errors.Join(err, made.Error())
	})
	testkit.Eventually(t, 10*time.Second, func() error { // a busy broker may know the old one for a moment longer, and write to that
		again := &kgo.Record{Topic: later.Topic, Value: []byte("anew")}
		if err := s.newClient().ProduceSync(t.Context(), again).FirstErr(); err != nil {
			return err
		}
		if again.Offset > 0 {
			return fmt.Errorf("written at %d of the old one", again.Offset)
		}
		return nil
	})
	s.want[later] = "anew"
	testkit.Eventually(t, 10*time.Second, func() error { return s.check(t.Context(), s.all()) })
}

// TestReadAtFetchesOnce: positions near each other, in all partitions, are one fetch.
func TestReadAtFetchesOnce(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	s := newShelf(t, broker.ListenAddrs(), "t.")
	for p := range int32(shelfPartitions) {
		for i := range 50 {
			s.keep(s.client, p, fmt.Sprint(i), strings.Repeat("x", 1000))
		}
	}
	var fetches atomic.Int32
	broker.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		fetches.Add(1)
		return nil, nil, false
	})
	if err := s.check(t.Context(), s.all()); err != nil {
		t.Fatal(err)
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches for %d positions, want 1", n, len(s.want))
	}
}

// TestReadAtFollowsLeaders reads while the partitions' leaders move among three brokers.
func TestReadAtFollowsLeaders(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	s := newShelf(t, broker.ListenAddrs(), "t.")
	s.fill()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 20 {
		p := int32(i % shelfPartitions)
		if err := broker.MoveTopicPartition(s.topic, p, (broker.LeaderFor(s.topic, p)+1)%3); err != nil {
			t.Fatal(err)
		}
		if err := s.check(ctx, s.all()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadAtBesideCompaction: what a newer record of its key has replaced is absent.
func TestReadAtBesideCompaction(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	s := newShelf(t, broker.ListenAddrs(), "t.")
	s.topic = "compacted"
	if err := broker.CreateTopic(s.topic, shelfPartitions, map[string]string{"cleanup.policy": "compact", "segment.bytes": "1000"}); err != nil {
		t.Fatal(err)
	}
	var all []*kgo.Record
	for i := range 200 {
		r := &kgo.Record{Topic: s.topic, Key: fmt.Append(nil, i%7), Value: fmt.Append(nil, i, strings.Repeat(".", 50))}
		if err := s.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	broker.Compact()
	reader := s.newClient(kgo.ConsumeTopics(s.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	there := map[int64]bool{}
	for !there[all[len(all)-1].Offset] {
		reader.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) { there[r.Offset] = true })
	}
	for _, r := range all {
		p := delivery.Position{Topic: s.topic, Offset: r.Offset}
		if there[r.Offset] {
			s.want[p] = string(r.Value)
		} else {
			s.absent = append(s.absent, p)
		}
	}
	if len(s.absent) < 100 {
		t.Fatalf("only %d records were compacted away", len(s.absent))
	}
	if err := s.check(t.Context(), s.all()); err != nil {
		t.Error(err)
	}
}

// TestReadAtBrokersAway: it errs when its context ends, and reads once they are back.
func TestReadAtBrokersAway(t *testing.T) {
	s := newShelf(t, fakes(t, 1), "t.")
	s.keep(s.client, 0, "a")
	through := &network{}
	client, err := s.cfg.NewClient("reader", slog.New(slog.DiscardHandler), kgo.Dialer(through.dial))
	if err != nil {
		t.Fatal(err)
	}
	s.reader.Close()
	s.reader = &Reader{client: client, admin: NewAdmin(client), decompress: kgo.DefaultDecompressor()}
	t.Cleanup(client.Close)
	through.cut()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := s.reader.ReadAt(ctx, s.all()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("with brokers away, after %s: %v", time.Since(start), err)
	}
	through.heal()
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.check(ctx, s.all()); err != nil {
		t.Error("with brokers back: ", err)
	}
	// Away again, with their addresses and leaders known.
	through.cut()
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.reader.ReadAt(ctx, s.all()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with brokers away again: %v", err)
	}
	// And back while it waits.
	done := make(chan error, 1)
	go func() { done <- s.check(t.Context(), s.all()) }()
	through.heal()
	if err := <-done; err != nil {
		t.Error("with brokers back while it waits: ", err)
	}
}
