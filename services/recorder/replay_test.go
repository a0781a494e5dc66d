package recorder

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// A log that is read in any order, in any batches, again, and by two recorders gives the tables that it gives
// when it is read once.
func TestAReplayChangesNothing(t *testing.T) {
	for name, fresh := range map[string]func(*testing.T) sqldb.Config{"sqlite": sqldbtest.SQLite, "postgres": sqldbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			fresh(t) // which skips here what cannot run
			for round := range 3 {
				t.Run(fmt.Sprint(round), func(t *testing.T) {
					chance := testkit.Random(t)
					topics := testTopics(t)
					log := newStory(t, topics, chance, 40).records
					once, again := openHistory(t, fresh(t)), openHistory(t, fresh(t))
					feed(t, once, log, nil, func() int { return 1 + round*10 }) // at first all merging is SQL's
					want := dump(t, once)
					if len(want) < len(log)/2 {
						t.Fatalf("%d rows of %d records", len(want), len(log))
					}

					shuffled := shuffle(chance, append(slices.Clone(log), log...))
					cuts := func() int { return 1 + chance.IntN(60) }
					feed(t, again, shuffled, &hold{}, cuts)
					if diff := cmp.Diff(want, dump(t, again)); diff != "" {
						t.Fatalf("twice and shuffled (-once +again):\n%s", diff)
					}
					feed(t, again, byPartition(chance, log), &hold{}, cuts)
					if diff := cmp.Diff(want, dump(t, again)); diff != "" {
						t.Fatalf("once more, each partition in order (-once +again):\n%s", diff)
					}

					two := openHistory(t, fresh(t))
					var recorders sync.WaitGroup
					for _, half := range [][]*kgo.Record{shuffle(chance, slices.Clone(log)), shuffle(chance, slices.Clone(log))} {
						seed := rand.New(rand.NewPCG(chance.Uint64(), 0))
						recorders.Go(func() { feed(t, two, half, &hold{}, func() int { return 1 + seed.IntN(60) }) })
					}
					recorders.Wait()
					if diff := cmp.Diff(want, dump(t, two)); diff != "" {
						t.Fatalf("two at once (-once +both):\n%s", diff)
					}
				})
			}
		})
	}
}

func openHistory(t testing.TB, cfg sqldb.Config) *sqlhistory.Store {
	t.Helper()
	store, err := sqlhistory.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// feed records what a log says, in batches of sizes that cut gives, through a hold unless it is nil.
func feed(t testing.TB, store *sqlhistory.Store, log []*kgo.Record, held *hold, cut func() int) {
	t.Helper()
	h, now := handler{testTopics(t)}, epoch
	for len(log) > 0 || held != nil && !held.empty() {
		n := 0
		if len(log) > 0 {
			n = min(cut(), len(log))
		}
		batch, readable, faults := h.rows(log[:n])
		for _, f := range faults {
			t.Errorf("not read: %v", f.reason)
		}
		if now = now.Add(time.Duration(1+n) * 20 * time.Millisecond); held != nil {
			held.exchange(&batch, readable, readUpTo(log[:n], h.topics.Attempts, now), now)
		}
		log = log[n:]
		if err := store.Record(t.Context(), &batch); err != nil {
			t.Error(err)
			return
		}
	}
}

func shuffle(chance *rand.Rand, log []*kgo.Record) []*kgo.Record {
	chance.Shuffle(len(log), func(i, j int) { log[i], log[j] = log[j], log[i] })
	return log
}

// byPartition is the log as a recorder may read it: every partition in order, but none with another.
func byPartition(chance *rand.Rand, log []*kgo.Record) []*kgo.Record {
	queues := map[place][]*kgo.Record{}
	var places []place
	for _, r := range log {
		at := place{r.Topic, r.Partition}
		if queues[at] == nil {
			places = append(places, at)
		}
		queues[at] = append(queues[at], r)
	}
	var out []*kgo.Record
	for len(places) > 0 {
		i := chance.IntN(len(places))
		at := places[i]
		n := 1 + chance.IntN(len(queues[at]))
		out, queues[at] = append(out, queues[at][:n]...), queues[at][n:]
		if len(queues[at]) == 0 {
			places = slices.Delete(places, i, i+1)
		}
	}
	return out
}

// dump is every row of every table, as text, in order.
func dump(t testing.TB, store *sqlhistory.Store) []string {
	t.Helper()
	var all []string
	for _, table := range []string{"events", "deliveries", "attempts", "webhook_states", "webhook_activity", "webhook_condition_errors", "notices", "quarantine"} {
		rows, err := store.Read.QueryContext(t.Context(), "SELECT * FROM "+table) //nolint:unqueryvet // all of it is compared
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, targets := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				targets[i] = &values[i]
			}
			if err := rows.Scan(targets...); err != nil {
				t.Fatal(err)
			}
			var line strings.Builder
			fmt.Fprint(&line, table)
			for i, c := range columns {
				fmt.Fprintf(&line, " %s=%v", c, values[i])
			}
			all = append(all, line.String())
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return all
}
