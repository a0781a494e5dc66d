package sqlhistory

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// day is a day (UTC) of received_at: days since 1970-01-01.
type day int64

const dayLength = int64(24 * time.Hour)

// dayOf is the day of a stored time. Nothing was received before 1970.
func dayOf(nanos int64) day { return day(nanos / dayLength) }

func (d day) start() int64 { return int64(d) * dayLength }

// partition is the name of a table's partition, e.g. "deliveries_20261122".
func (d day) partition(table string) string {
	return table + "_" + time.Unix(0, d.start()).UTC().Format(dayFormat)
}

const dayFormat = "20060102"

// dayOfPartition is the day of a partition's name, false if it is no name that we give.
func dayOfPartition(table, name string) (day, bool) {
	text, ours := strings.CutPrefix(name, table+"_")
	t, err := time.Parse(dayFormat, text)
	return dayOf(t.UnixNano()), ours && err == nil
}

// dayTables have a partition for each day, in the order in which a day is dropped: an attempt is of no use
// without its delivery.
func dayTables() []string { return []string{"attempts", "deliveries", "events"} }

// days is what a Store remembers of days: the partitions that were there when it last looked, and which
// days are expired.
type days struct {
	mu    sync.Mutex
	known map[day]bool
	first day // the oldest that Record writes

	late atomic.Uint64 // rows of older days
}

// missing are those of the days that are not known to have partitions, in order.
func (d *days) missing(of map[day]bool) []day {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []day
	for day := range of {
		if !d.known[day] {
			out = append(out, day)
		}
	}
	slices.Sort(out)
	return out
}

func (d *days) add(made []day) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[day]bool{}
	}
	for _, day := range made {
		d.known[day] = true
	}
}

// forget makes the Store look again: another process has dropped partitions.
func (d *days) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
}

// expire says that days before first are gone for good.
func (d *days) expire(first day) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = max(d.first, first)
	for day := range d.known {
		if day < d.first {
			delete(d.known, day)
		}
	}
}

func (d *days) oldest() day {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first
}

// Late is how many rows Record has left out because their day was expired already.
func (s *Store) Late() uint64 { return s.days.late.Load() }

// Prepare makes the partitions of the days from and to, and of those between. SQLite has none.
func (s *Store) Prepare(ctx context.Context, from, to time.Time) error {
	of := map[day]bool{}
	for d := dayOf(sqldb.Nanos(from)); d <= dayOf(sqldb.Nanos(to)); d++ {
		of[d] = true
	}
	return s.prepare(ctx, of)
}

// prepare makes what partitions these days lack. Readers and writers of the tables go on meanwhile: a
// partition is attached when it is whole, and only those who make partitions wait for each other.
func (s *Store) prepare(ctx context.Context, of map[day]bool) error {
	if !s.Postgres() {
		return nil
	}
	missing := s.days.missing(of)
	if len(missing) == 0 {
		return nil
	}
	err := s.Change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "LOCK TABLE ONLY "+strings.Join(dayTables(), ", ONLY ")+" IN SHARE UPDATE EXCLUSIVE MODE"); err != nil {
			return err
		}
		for _, table := range dayTables() {
			there, err := partitions(ctx, tx, table)
			if err != nil {
				return err
			}
			for _, d := range missing {
				if there[d] {
					continue
				}
				if _, err := tx.ExecContext(ctx, create(table, d)); err != nil {
					return fmt.Errorf("partition %s: %w", d.partition(table), err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("partitions of %d days from %s: %w", len(missing), missing[0].partition("day"), err)
	}
	s.days.add(missing)
	return nil
}

// create makes a partition and its indexes, then attaches it.
func create(table string, d day) string {
	name := d.partition(table)
	return fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING INDEXES); ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%d) TO (%d)",
		name, table, table, name, d.start(), (d + 1).start())
}

// partitions are the days of which a table has a partition.
func partitions(ctx context.Context, q sqldb.Queryer, table string) (map[day]bool, error) {
	names, err := sqldb.All(ctx, q, func(row sqldb.Scanner) (name string, err error) { return name, row.Scan(&name) },
		`SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass`, table)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", table, err)
	}
	of := map[day]bool{}
	for _, name := range names {
		if d, ours := dayOfPartition(table, name); ours {
			of[d] = true
		}
	}
	return of, nil
}
