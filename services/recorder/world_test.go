package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const patience = 20 * time.Second

// world is a log and a database around recorders.
type world struct {
	t      *testing.T
	cfg    Config
	topics wire.Topics
	client *kgo.Client
	store  *sqlhistory.Store // to look, and open as long as the test

	read int      // records of the log that rows are of
	rows []string // that the tables must hold
}

func newWorld(t *testing.T, sql sqldb.Config) *world {
	t.Helper()
	prefix := testkit.Prefix(t) // first, so that what is under it goes last
	w := &world{t: t, cfg: Config{
		Kafka: kafka.Config{Brokers: testkit.Broker(t), TopicPrefix: prefix, RetryTiers: "1m"},
		// Stories are of the past: nothing of them is to be old before its test ends.
		SQL: sql, Retention: 50 * 365 * 24 * time.Hour, BatchRecords: 500, BatchWait: 10 * time.Millisecond,
	}}
	var err error
	if w.topics, err = w.cfg.Kafka.Topics(); err != nil {
		t.Fatal(err)
	}
	if w.client, err = w.cfg.Kafka.NewClient("test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if err := kafka.Apply(t.Context(), kadm.NewClient(w.client), w.topics, kafka.TopicOptions{Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	w.store = openHistory(t, sql)
	return w
}

// each runs a test on every database that there is.
func each(t *testing.T, test func(*world)) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) { test(newWorld(t, cfg)) })
}

// run is a recorder under way.
type run struct {
	*Service
	metrics *prometheus.Registry
	stop    func() error
}

func (w *world) make(change ...func(*Config)) *run {
	w.t.Helper()
	r := &run{metrics: prometheus.NewRegistry()}
	log := io.Discard
	if testing.Verbose() {
		log = w.t.Output()
	}
	cfg := w.cfg
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if r.Service, err = New(cfg, slog.New(slog.NewTextHandler(log, nil)), r.metrics); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// begin runs a recorder that need not become ready.
func (w *world) begin(change ...func(*Config)) *run {
	w.t.Helper()
	r := w.make(change...)
	ctx, cancel := context.WithCancel(context.Background())
	var ended error
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended = r.Run(ctx)
	}()
	r.stop = func() error {
		cancel()
		<-done
		return ended
	}
	w.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			w.t.Error(err)
		}
	})
	return r
}

func (w *world) start(change ...func(*Config)) *run {
	w.t.Helper()
	r := w.begin(change...)
	testkit.Eventually(w.t, patience, r.Ready)
	return r
}

// write writes records to the log.
func (w *world) write(records ...*kgo.Record) {
	w.t.Helper()
	for _, r := range records { // as they come from a story, they have places of their own
		r.Partition, r.Offset, r.Timestamp = 0, 0, time.Time{}
	}
	if err := w.client.ProduceSync(w.t.Context(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// story writes a story to the log.
func (w *world) story(events int) {
	w.t.Helper()
	w.write(newStory(w.t, w.topics, testkit.Random(w.t), events).records...)
}

// publish writes n events, without anything that follows from them.
func (w *world) publish(first, n int, change ...func(*event.Record)) {
	w.t.Helper()
	var records []*kgo.Record
	for i := range n {
		e := event.Record{Event: event.Event{
			ID: fmt.Sprintf("n-%d", first+i), Tenant: "acme", Type: "card.updated", OccurredAt: epoch, Data: []byte(`{}`),
		}, ReceivedAt: epoch.Add(time.Duration(first+i) * time.Second)}
		for _, c := range change {
			c(&e)
		}
		r, err := wire.Event(w.topics.Events, e)
		if err != nil {
			w.t.Fatal(err)
		}
		records = append(records, r)
	}
	w.write(records...)
}

// log is all that stands in the log, read from outside.
func (w *world) log() []*kgo.Record {
	w.t.Helper()
	names := handler{w.topics}.read()
	reader, err := w.cfg.Kafka.NewClient("reader", slog.New(slog.DiscardHandler), kgo.ConsumeTopics(names...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		w.t.Fatal(err)
	}
	defer reader.Close()
	ends, err := kadm.NewClient(w.client).ListCommittedOffsets(w.t.Context(), names...)
	if err = errors.Join(err, ends.Error()); err != nil {
		w.t.Fatal(err)
	}
	left := map[place]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[place{o.Topic, o.Partition}] = o.Offset
		}
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var out []*kgo.Record
	for len(left) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			out = append(out, r)
			if at := (place{r.Topic, r.Partition}); r.Offset+1 >= left[at] {
				delete(left, at)
			}
		})
	}
	return out
}

// expected is what the tables must hold of the log as it stands.
func (w *world) expected() []string {
	w.t.Helper()
	h, log := handler{w.topics}, w.log()
	if w.rows != nil && len(log) == w.read {
		return w.rows
	}
	store := openHistory(w.t, sqldbtest.SQLite(w.t))
	batch, _, _ := h.rows(log)
	if err := store.Record(w.t.Context(), &batch); err != nil {
		w.t.Fatal(err)
	}
	w.read, w.rows = len(log), plain(dump(w.t, store))
	return w.rows
}

// recorded waits until the tables hold all that the log says, and returns the rows.
func (w *world) recorded() []string {
	w.t.Helper()
	var got []string
	testkit.Eventually(w.t, patience, func() error {
		want := w.expected()
		got = plain(dump(w.t, w.store))
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("%d rows of %d (-want +got):\n%s", len(got), len(want), diff)
		}
		return nil
	})
	return got
}

// committed waits until the group has committed all that stands in the log.
func (w *world) committed(r *run) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error {
		n, err := r.count(w.t.Context())
		if err == nil && n != 0 {
			err = fmt.Errorf("%d records are not committed", n)
		}
		return err
	})
}

// count is the number of a table's rows.
func count(rows []string, table string) (n int) {
	for _, row := range rows {
		if strings.HasPrefix(row, table+" ") {
			n++
		}
	}
	return n
}

// plain is rows without what the two databases say differently: a bool.
func plain(rows []string) []string {
	bools := strings.NewReplacer(" disabled=true", " disabled=1", " disabled=false", " disabled=0")
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = bools.Replace(row)
	}
	slices.Sort(out)
	return out
}
