package recorder

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func TestRecordsInRowsOut(t *testing.T) {
	each(t, func(w *world) {
		r := w.start()
		w.story(60)
		rows := w.recorded()
		w.committed(r)
		for _, table := range []string{"events", "deliveries", "attempts", "webhook_states", "webhook_activity", "webhook_condition_errors", "notices", "quarantine"} {
			if n := count(rows, table); n == 0 || r.metric(w.t, "doorstep_recorder_rows_total", table) < float64(n) {
				w.t.Errorf("%d rows of %s, %v counted", n, table, r.metric(w.t, "doorstep_recorder_rows_total", table))
			}
		}
		if r.metric(w.t, "doorstep_recorder_batch_seconds", "") == 0 {
			w.t.Error("no batch is counted")
		}
	})
}

// What comes in a transaction counts once it ends, and its end leaves no lag.
func TestTransactions(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	r := w.start()
	writer, err := w.cfg.Kafka.NewClient("writer", slog.New(slog.DiscardHandler), kgo.TransactionalID(w.cfg.Kafka.TopicPrefix+"writer"))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, record := range newStory(t, w.topics, testkit.Random(t), 5).records {
			record.Partition, record.Offset, record.Timestamp = 0, 0, time.Time{}
			writer.Produce(t.Context(), record, nil)
		}
		if err := errors.Join(writer.Flush(t.Context()), writer.EndTransaction(t.Context(), end)); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(w.recorded(), "events"); n != 5 {
		t.Errorf("%d events, want the 5 that were committed", n)
	}
	w.committed(r)
}

func TestWhatCameMeanwhileIsRead(t *testing.T) {
	each(t, func(w *world) {
		static := func(c *Config) { c.Instance = "recorder-0" }
		first := w.start(static)
		w.publish(0, 10)
		w.recorded()
		if err := first.stop(); err != nil {
			w.t.Fatal(err)
		}
		w.story(20)
		w.publish(10, 1000)
		second := w.start(static)
		rows := w.recorded()
		if n := count(rows, "events"); n != 1010+20 {
			w.t.Errorf("%d events, want 1030", n)
		}
		w.committed(second)
	})
}

// Killed between writing and committing: the batch is written again, which changes nothing.
func TestKilledBeforeTheCommit(t *testing.T) {
	each(t, func(w *world) {
		w.story(40)
		killed := w.make()
		killed.store.Store(w.store)
		g, err := newGroup(killed.cfg, killed.handler.read(), slog.New(slog.DiscardHandler))
		if err != nil {
			w.t.Fatal(err)
		}
		written := 0
		var held hold
		for written < len(w.log()) || !held.empty() {
			records, _, err := g.follow(w.t.Context(), 50, time.Millisecond)
			if err != nil {
				w.t.Fatal(err)
			}
			if err := killed.take(w.t.Context(), w.t.Context(), records, &held); err != nil {
				w.t.Fatal(err)
			}
			written += len(records)
			g.drop() // what is written is not committed
		}
		g.close()
		before := w.recorded()
		if n, err := killed.count(w.t.Context()); err != nil || n != int64(written) {
			w.t.Fatalf("%d of %d records are not committed (%v), want all", n, written, err)
		}
		r := w.start()
		w.committed(r)
		if diff := cmp.Diff(before, w.recorded()); diff != "" {
			w.t.Errorf("written again (-before +after):\n%s", diff)
		}
	})
}

func TestSQLAway(t *testing.T) {
	for name, away := range map[string]func(*testkit.Proxy){
		"cut": (*testkit.Proxy).Cut, "hanging": (*testkit.Proxy).Hang,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sqldbtest.Postgres(t))
			u, err := url.Parse(w.cfg.SQL.PostgresURL)
			if err != nil {
				t.Fatal(err)
			}
			network := testkit.NewProxy(t, u.Host)
			u.Host = network.Addr
			w.cfg.SQL.PostgresURL = u.String()

			network.Cut()
			r := w.begin()
			w.publish(0, 10)
			if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "waiting for SQL") {
				t.Errorf("ready without SQL: %v", err)
			}
			network.Heal()
			w.recorded()
			w.committed(r)
			_, generation := r.group.Load().client.GroupMetadata()

			away(network)
			w.publish(10, 2000)
			testkit.Eventually(t, patience, func() error {
				if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "has taken nothing") {
					return fmt.Errorf("ready while SQL is away: %w", err)
				}
				return nil
			})
			r.watch(t.Context())
			if behind := r.lag.Behind(); behind != 2000 {
				t.Errorf("%d records behind, want 2000", behind)
			}
			if r.lag.Age(time.Now().Add(time.Minute)) < time.Minute {
				t.Error("the oldest record does not age")
			}
			network.Heal()
			w.recorded()
			w.committed(r)
			if err := r.Ready(); err != nil {
				t.Error(err)
			}
			if _, now := r.group.Load().client.GroupMetadata(); now != generation {
				t.Errorf("the seat was lost: generation %d, then %d", generation, now)
			}
		})
	}
}

func TestStopWhileSQLIsAway(t *testing.T) {
	w := newWorld(t, sqldbtest.Postgres(t))
	u, err := url.Parse(w.cfg.SQL.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	network, direct := testkit.NewProxy(t, u.Host), w.cfg.SQL
	u.Host = network.Addr
	w.cfg.SQL.PostgresURL = u.String()
	r := w.start()
	network.Hang()
	w.publish(0, 100)
	testkit.Eventually(t, patience, func() error {
		if r.lag.Age(time.Now()) == 0 {
			return errors.New("nothing is in hand")
		}
		return nil
	})
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > stopTime+3*time.Second {
		t.Errorf("the stop took %s", took)
	}
	w.start(func(c *Config) { c.SQL = direct })
	if n := count(w.recorded(), "events"); n != 100 {
		t.Errorf("%d events", n)
	}
}

// poison makes a database refuse events with the reference it returns.
func (w *world) poison() string {
	w.t.Helper()
	if w.store.Postgres() {
		chance := testkit.Random(w.t)
		long := make([]byte, 20_000) // cannot be in an index, and does not compress
		for i := range long {
			long[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[chance.IntN(62)]
		}
		return string(long)
	}
	for _, change := range []string{
		`CREATE TRIGGER poison BEFORE INSERT ON events WHEN NEW.external_reference = 'poison' BEGIN SELECT RAISE(ABORT, 'no'); END`,
		`CREATE TRIGGER again BEFORE INSERT ON quarantine WHEN NEW.reader = 'poison' BEGIN SELECT RAISE(ABORT, 'no'); END`,
	} {
		if _, err := w.store.Write.ExecContext(w.t.Context(), change); err != nil {
			w.t.Fatal(err)
		}
	}
	return "poison"
}

func TestWhatSQLRefusesIsQuarantinedAlone(t *testing.T) {
	each(t, func(w *world) {
		reference := w.poison()
		w.publish(0, 100)
		w.publish(100, 2, func(e *event.Record) { e.ExternalReference = reference })
		w.publish(102, 100, func(e *event.Record) { e.Type = "with\x00zero" })
		r := w.start()
		testkit.Eventually(w.t, patience, func() error {
			rows := dump(w.t, w.store)
			if e, q := count(rows, "events"), count(rows, "quarantine"); e != 200 || q != 2 {
				return fmt.Errorf("%d events, %d quarantined; want 200 and 2", e, q)
			}
			return nil
		})
		w.committed(r)
		kept := 0
		for _, record := range w.log() {
			if record.Topic != w.topics.Quarantine {
				continue
			}
			q, err := wire.ReadQuarantine(record)
			if err != nil {
				w.t.Fatal(err)
			}
			e, err := wire.ReadEvent(&kgo.Record{Value: q.Value, Headers: []kgo.RecordHeader{{Key: q.Headers[0].Name, Value: []byte(q.Headers[0].Value)}}})
			if err != nil || e.ExternalReference != reference || q.Position.Topic != w.topics.Events || q.Reader != "recorder" || q.Reason == "" {
				w.t.Errorf("kept: %s of %+v, %s (%v)", e.ID, q.Position, q.Reason, err)
			}
			kept++
		}
		if kept != 2 {
			w.t.Errorf("%d records kept, want 2", kept)
		}
	})
}

// A quarantine record without rows is told of and not kept again: it would come back for ever.
func TestQuarantineDoesNotFeedItself(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	w.poison()
	refused, err := wire.Quarantine(w.topics.Quarantine, "poison", &kgo.Record{Topic: "x"}, errors.New("no"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	r := w.start()
	w.write(refused, &kgo.Record{Topic: w.topics.Quarantine, Key: []byte("k"), Value: []byte("unreadable")})
	w.publish(0, 1)
	w.committed(r)
	n := 0
	for _, record := range w.log() {
		if record.Topic == w.topics.Quarantine {
			n++
		}
	}
	if told := r.metric(t, "doorstep_quarantined_total", w.topics.Quarantine); n != 2 || told != 2 {
		t.Errorf("%d records in quarantine and %v told of, want 2 and 2", n, told)
	}
}

func TestUnreadableRecordsAreQuarantined(t *testing.T) {
	w := newWorld(t, sqldbtest.Any(t))
	r := w.start()
	names := handler{w.topics}.read()
	names = slices.DeleteFunc(names, func(n string) bool { return n == w.topics.Quarantine })
	for _, topic := range names {
		w.write(&kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("unreadable")})
	}
	w.publish(0, 1)
	testkit.Eventually(t, patience, func() error {
		rows := dump(t, w.store)
		if q, e := count(rows, "quarantine"), count(rows, "events"); q != len(names) || e != 1 {
			return fmt.Errorf("%d quarantined, %d events; want %d and 1", q, e, len(names))
		}
		return nil
	})
	w.committed(r)
}

func TestTwoRecorders(t *testing.T) {
	w := newWorld(t, sqldbtest.Postgres(t))
	first := w.start(func(c *Config) { c.BatchRecords = 20 })
	w.story(100)
	second := w.start(func(c *Config) { c.BatchRecords = 20 })
	w.publish(0, 500)
	testkit.Eventually(t, patience, func() error {
		if a, b := first.group.Load().owned(), second.group.Load().owned(); a == 0 || b == 0 {
			return fmt.Errorf("partitions: %d and %d", a, b)
		}
		return nil
	})
	w.publish(500, 500)
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	w.publish(1000, 500)
	if n := count(w.recorded(), "events"); n != 1600 {
		t.Errorf("%d events, want 1600", n)
	}
	w.committed(second)
}

func (g *group) owned() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.places)
}

// A batch that takes too long does not hold partitions that go to another: what is written of them then is not
// committed, and their new owner reads it.
func TestGivenAwayWhileInHand(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	w.publish(0, 300)
	log := slog.New(slog.DiscardHandler)
	slow, err := newGroup(w.cfg, []string{w.topics.Events}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.close()
	var inHand []*kgo.Record
	for len(inHand) == 0 {
		if inHand, err = slow.gather(t.Context(), 300, patience); err != nil { // all that there is, in however many answers
			t.Fatal(err)
		}
	}
	if len(inHand) != 300 {
		t.Fatalf("%d records in hand, want 300", len(inHand))
	}

	other, err := newGroup(w.cfg, []string{w.topics.Events}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	got, err := other.gather(t.Context(), 1000, time.Second) // which waits for handoverTime
	if err != nil || len(got) == 0 || slow.owned() == partitions {
		t.Fatalf("%d records, %d partitions with their former owner (%v)", len(got), slow.owned(), err)
	}
	slow.finish(t.Context(), inHand, nil)
	commits, err := kadm.NewClient(w.client).FetchOffsets(t.Context(), groupName(w.cfg.Kafka))
	if err != nil {
		t.Fatal(err)
	}
	moved := map[int32]bool{}
	for _, r := range got {
		moved[r.Partition] = true
	}
	for p := range int32(partitions) {
		commit, is := commits.Lookup(w.topics.Events, p)
		if is = is && commit.At > 0; is == moved[p] {
			t.Errorf("partition %d, given away: %v, committed: %v", p, moved[p], is)
		}
	}
	other.finish(t.Context(), got, nil)
}

func TestFenced(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	static := func(c *Config) { c.Instance = "recorder-0" }
	first := w.make(static)
	ended := make(chan error, 1)
	go func() { ended <- first.Run(t.Context()) }()
	testkit.Eventually(t, patience, first.Ready)
	w.start(static)
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "DOORSTEP_INSTANCE") {
			t.Errorf("the first of two with one instance ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("two run with one instance")
	}
}

func TestRetention(t *testing.T) {
	each(t, func(w *world) {
		r := w.make(func(c *Config) { c.Retention = 30 * 24 * time.Hour })
		r.store.Store(w.store)
		now := epoch
		r.now = func() time.Time { return now }
		record := func(ages ...int) {
			var b history.Batch
			for _, days := range ages {
				b.AddEvent(event.Record{Event: event.Event{ID: fmt.Sprint(days), Tenant: "acme"}, ReceivedAt: now.AddDate(0, 0, -days)},
					wire.PositionOf(&kgo.Record{Topic: "t", Offset: int64(days)}))
			}
			if err := w.store.Record(w.t.Context(), &b); err != nil {
				w.t.Fatal(err)
			}
		}
		record(0, 29, 31, 40)
		lock, _, err := w.store.TryLock(w.t.Context(), "recorder.retention")
		if err != nil {
			w.t.Fatal(err)
		}
		if err := r.retainOnce(w.t.Context()); err != nil || count(dump(w.t, w.store), "events") != 4 {
			w.t.Errorf("something is gone while another is at it (%v)", err)
		}
		lock.Release()
		if err := r.retainOnce(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		if n := count(dump(w.t, w.store), "events"); n != 2 {
			w.t.Errorf("%d events left, want 2", n)
		}
		if !w.store.Postgres() {
			return
		}
		made, err := sqldb.All(w.t.Context(), w.store.Read, func(row sqldb.Scanner) (name string, err error) { return name, row.Scan(&name) },
			`SELECT relname FROM pg_class WHERE relname LIKE 'attempts\_2%' AND relkind = 'r' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) ORDER BY 1`)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, day := range []string{"20261122", "20261123", "20261124", "20261125"} {
			if !slices.Contains(made, "attempts_"+day) {
				w.t.Errorf("no partition of %s: %v", day, made)
			}
		}
	})
}

// metric is the sum of a metric's series that have a label value, "" for all.
func (r *run) metric(t testing.TB, name, label string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == label
			}
			if has {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}
