package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// hop is two topics, and what has been read of the second one.
type hop struct {
	t       testing.TB
	cfg     Config
	in, out string
	client  *kgo.Client // produces to in, reads what is committed in out
	got     []string
}

// newHop is on the cluster that the environment names, else on an embedded one.
func newHop(t testing.TB) *hop {
	t.Helper()
	prefix := testkit.Prefix(t)
	return hopOn(t, testkit.Broker(t), prefix)
}

// madeUpHop is on an embedded cluster whose answers can be made up.
func madeUpHop(t testing.TB) (*hop, *kfake.Cluster) {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	return hopOn(t, broker.ListenAddrs(), "t."), broker
}

func hopOn(t testing.TB, brokers []string, prefix string) *hop {
	t.Helper()
	h := &hop{
		t: t, in: prefix + "in", out: prefix + "out", cfg: Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: "1m"},
	}
	testkit.Topics(t, brokers, 2, h.in, h.out)
	var err error
	h.client, err = h.cfg.NewClient("test", slog.New(slog.DiscardHandler), kgo.ConsumeTopics(h.out),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.client.Close)
	return h
}

func (h *hop) put(values ...string) {
	h.t.Helper()
	for _, v := range values {
		r := &kgo.Record{Topic: h.in, Key: []byte(v), Value: []byte(v)}
		if err := h.client.ProduceSync(h.t.Context(), r).FirstErr(); err != nil {
			h.t.Fatal(err)
		}
	}
}

// running is a Transact under way.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done
}

func (r *running) wait() error {
	select {
	case <-r.done:
		return r.err
	case <-time.After(20 * time.Second):
		return errors.New("Transact does not end")
	}
}

func (r *running) stop() error {
	r.cancel()
	return r.wait()
}

func (h *hop) start(o TransactOptions, handle HandleFunc) *running {
	h.t.Helper()
	o.Name, o.Topic, o.Instance = "hop", h.in, "one"
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = Transact(ctx, h.cfg, slog.New(slog.DiscardHandler), o, handle)
	}()
	h.t.Cleanup(func() { _ = r.stop() })
	return r
}

// read waits until n records in all have come out, and a moment longer for one too many.
func (h *hop) read(n int) []string {
	h.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		wait := 300 * time.Millisecond
		ctx, cancel := context.WithTimeout(h.t.Context(), wait)
		fetches := h.client.PollFetches(ctx)
		cancel()
		fetches.EachRecord(func(r *kgo.Record) { h.got = append(h.got, string(r.Value)) })
		if fetches.Empty() && len(h.got) >= n {
			slices.Sort(h.got)
			return h.got
		}
	}
	h.t.Fatalf("%d records came out, want %d: %v", len(h.got), n, h.got)
	return nil
}

func (h *hop) want(values ...string) {
	h.t.Helper()
	slices.Sort(values)
	if got := h.read(len(values)); !slices.Equal(got, values) {
		h.t.Fatalf("got %v, want %v", got, values)
	}
}

func (h *hop) copyAll(_ context.Context, records []*kgo.Record, produce func(*kgo.Record)) error {
	for _, r := range records {
		produce(&kgo.Record{Topic: h.out, Key: r.Key, Value: r.Value})
	}
	return nil
}

func TestTransactGoesOnAfterARestart(t *testing.T) {
	for name, embedded := range map[string]bool{"Kafka": false, "embedded": true} {
		t.Run(name, func(t *testing.T) {
			h := newHop(t)
			h.cfg.Embedded = embedded
			h.put("a", "b", "c")
			first := h.start(TransactOptions{}, h.copyAll)
			h.want("a", "b", "c")
			if err := first.stop(); err != nil {
				t.Fatal(err)
			}
			h.put("d")
			h.start(TransactOptions{}, h.copyAll)
			h.want("a", "b", "c", "d")
		})
	}
}

func TestTransactShowsNothingOfAnAbortedTransaction(t *testing.T) {
	h := newHop(t)
	h.put("a", "b", "c", "d", "e")
	var calls, aborted atomic.Int64
	h.start(TransactOptions{Ended: func(tr Transaction) {
		if !tr.Committed {
			aborted.Add(1)
		}
	}}, func(ctx context.Context, records []*kgo.Record, produce func(*kgo.Record)) error {
		if err := h.copyAll(ctx, records, produce); err != nil {
			return err
		}
		if calls.Add(1)%2 == 1 {
			return errors.New("not this time")
		}
		return nil
	})
	h.want("a", "b", "c", "d", "e")
	if aborted.Load() == 0 {
		t.Error("no transaction was aborted")
	}
}

func TestTransactAbortsWhenARecordIsNotWritten(t *testing.T) {
	h := newHop(t)
	h.put("a")
	var calls atomic.Int64
	h.start(TransactOptions{}, func(ctx context.Context, records []*kgo.Record, produce func(*kgo.Record)) error {
		if calls.Add(1) == 1 {
			produce(&kgo.Record{Topic: h.out, Value: make([]byte, 2*maxBatchBytes)}) // too large
		}
		return h.copyAll(ctx, records, produce)
	})
	h.want("a")
	if calls.Load() < 2 {
		t.Error("a transaction that lost a record was committed")
	}
}

func TestTransactRebuildsASessionThatCannotEnd(t *testing.T) {
	for name, code := range map[string]int16{
		"fenced":          kerr.ProducerFenced.Code,
		"timed out":       kerr.InvalidProducerEpoch.Code,
		"unknown mapping": kerr.InvalidProducerIDMapping.Code,
	} {
		t.Run(name, func(t *testing.T) {
			h, broker := madeUpHop(t)
			h.put("a", "b")
			var failures atomic.Int64
			broker.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
				failures.Add(1)
				resp := req.ResponseKind().(*kmsg.EndTxnResponse)
				resp.ErrorCode = code
				return resp, nil, true
			})
			h.start(TransactOptions{}, h.copyAll)
			h.want("a", "b")
			if failures.Load() == 0 {
				t.Error("no end failed")
			}
		})
	}
}

func TestTransactStopsForWantOfRoom(t *testing.T) {
	h := newHop(t)
	var full atomic.Bool
	full.Store(true)
	var asked atomic.Int64
	h.start(TransactOptions{Room: func() error {
		asked.Add(1)
		if full.Load() {
			return errors.New("disk full")
		}
		return nil
	}}, h.copyAll)
	h.put("a")
	for asked.Load() < 2 {
		if !wait(t.Context(), 10*time.Millisecond) {
			t.Fatal("room is not asked for")
		}
	}
	if got := h.read(0); len(got) > 0 {
		t.Fatalf("%v came out without room", got)
	}
	full.Store(false)
	h.want("a")
}

func TestTransactEndsWhenItsPlaceIsTaken(t *testing.T) {
	h := newHop(t)
	first := h.start(TransactOptions{}, h.copyAll)
	h.put("a")
	h.want("a")
	h.start(TransactOptions{}, h.copyAll)
	if err := first.wait(); !errors.Is(err, kerr.FencedInstanceID) || !strings.Contains(err.Error(), `"one"`) {
		t.Fatalf("the first ended with: %v", err)
	}
	h.put("b")
	h.want("a", "b")
}

func TestResize(t *testing.T) {
	for name, tt := range map[string]struct {
		size int
		t    Transaction
		want int
	}{
		"small ones double":       {8, Transaction{Committed: true, Records: 8, Worked: time.Millisecond}, 16},
		"to a bound":              {maxRecords, Transaction{Committed: true, Worked: time.Millisecond}, maxRecords},
		"middling ones stay":      {8, Transaction{Committed: true, Records: 8, Worked: longWork / 2}, 8},
		"long ones halve":         {64, Transaction{Committed: true, Records: 50, Worked: 2 * longWork}, 25},
		"large ones halve":        {64, Transaction{Committed: true, Records: 64, Bytes: 2 * largeTransaction}, 32},
		"one record is the least": {4, Transaction{Committed: true, Records: 1, Worked: 2 * longWork}, 1},
		"failed: one record":      {64, Transaction{Records: 64}, 1},
	} {
		s := session{size: tt.size}
		if s.resize(tt.t); s.size != tt.want {
			t.Errorf("%s: %d, want %d", name, s.size, tt.want)
		}
	}
}

// BenchmarkTransactHop sends 200 records a second through one transactional hop and prints how
// long they took, in milliseconds.
func BenchmarkTransactHop(b *testing.B) {
	h := newHop(b)
	h.start(TransactOptions{}, h.copyAll)
	var took []time.Duration
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; b.Loop(); i++ {
		<-tick.C
		began := time.Now()
		h.put(fmt.Sprint(i))
		for came := false; !came; {
			h.client.PollFetches(b.Context()).EachRecord(func(*kgo.Record) { came = true })
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
