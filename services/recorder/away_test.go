package recorder

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestMemoryWhileSQLIsAway: others keep the database locked for longer than a member of the group may be silent, and the
// log goes on. What the recorder holds of it stays bounded, it keeps its seat, and records everything afterwards.
func TestMemoryWhileSQLIsAway(t *testing.T) {
	const events, size = 400, 200 << 10 // 80 MiB
	w := newWorld(t, sqldbtest.SQLite(t))
	r := w.start()
	w.publish(0, 1)
	w.recorded()
	g := r.group.Load()
	member, generation := g.client.GroupMetadata()

	lock, err := w.store.Write.BeginTx(t.Context(), nil) // as every writer does, it takes the file
	if err != nil {
		t.Fatal(err)
	}
	large := func(e *event.Record) { e.Data = []byte(`"` + strings.Repeat("x", size) + `"`) }
	for i := range events / 50 {
		w.publish(1+50*i, 50, large)
	}
	most := int64(0)
	away := time.Now()
	testkit.Eventually(t, 4*kafka.SessionTimeout, func() error {
		most = max(most, g.client.BufferedFetchBytes())
		if time.Since(away) < kafka.SessionTimeout+2*time.Second {
			return errors.New("a member that says nothing is not given up yet")
		}
		return nil
	})
	if limit := int64(4 * fetchBytes); most > limit {
		t.Errorf("%d MiB of the log are in memory, the bound is %d", most>>20, limit>>20)
	}
	t.Logf("at most %d of %d MiB were in memory", most>>20, events*size>>20)
	if r.Ready() == nil {
		t.Error("ready while SQL is away")
	}
	if now, of := g.client.GroupMetadata(); now != member || of != generation {
		t.Errorf("the recorder was %s of generation %d and is %s of %d: it was given up", member, generation, now, of)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 2*patience, func() error {
		var n int
		err := w.store.Read.QueryRowContext(t.Context(), `SELECT count(*) FROM events`).Scan(&n)
		if err == nil && n != 1+events {
			err = fmt.Errorf("%d events, want %d", n, 1+events)
		}
		return err
	})
	w.committed(r)
	if _, of := g.client.GroupMetadata(); of != generation {
		t.Errorf("generation %d, it was %d", of, generation)
	}
}
