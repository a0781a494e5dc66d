package sqlhistory

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// lookup is a SELECT to be made for each of many keys.
type lookup struct {
	columns   []string // of a key
	statement string   // reads a key's columns as key.NAME
	keys      [][]any  // their values: int64 or string
	// scan reads a row that was found, in any order, with one more column at the end: the place of its key in
	// keys, an int.
	scan func(sqldb.Scanner) error
}

// lookUp makes the lookup. PostgreSQL joins laterally: one round trip, and nothing can be scanned instead of
// looked up. SQLite has no such join, and no round trips: it is asked for one key after the other.
func (s *Store) lookUp(ctx context.Context, l lookup) error {
	if len(l.keys) == 0 {
		return nil
	}
	if s.Postgres() {
		rows, err := s.Read.QueryContext(ctx, l.lateral(), l.arrays()...)
		if err != nil {
			return err
		}
		return l.scanAll(rows)
	}
	one, err := s.Read.PrepareContext(ctx, l.single())
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer one.Close()
	for i, key := range l.keys {
		rows, err := one.QueryContext(ctx, append(slices.Clip(key), int64(i))...)
		if err != nil {
			return err
		}
		if err := l.scanAll(rows); err != nil {
			return err
		}
	}
	return nil
}

func (l lookup) scanAll(rows *sql.Rows) error {
	defer rows.Close()
	for rows.Next() {
		if err := l.scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// lateral is the statement for all keys at once, whose columns are given as arrays. They stand in selections
// of their own so that the planner does not see how long they are: there is one plan only, and for one that
// looks long, PostgreSQL would first compile code for most of a second.
func (l lookup) lateral() string {
	arrays := make([]string, len(l.columns))
	for i, v := range l.keys[0] {
		of := "text"
		if _, is := v.(int64); is {
			of = "bigint"
		}
		arrays[i] = "(SELECT $" + strconv.Itoa(i+1) + "::" + of + "[])"
	}
	//nolint:unqueryvet // what is found names its columns
	return "SELECT found.*, key.place - 1 FROM unnest(" + strings.Join(arrays, ", ") + ") WITH ORDINALITY AS key (" +
		strings.Join(l.columns, ", ") + ", place) CROSS JOIN LATERAL (" + l.statement + ") AS found"
}

func (l lookup) arrays() []any {
	args := make([]any, len(l.columns))
	for i, v := range l.keys[0] {
		if _, is := v.(int64); is {
			args[i] = column[int64](l.keys, i)
		} else {
			args[i] = column[string](l.keys, i)
		}
	}
	return args
}

func column[T any](keys [][]any, i int) []T {
	out := make([]T, len(keys))
	for at, key := range keys {
		out[at] = key[i].(T)
	}
	return out
}

// single is the statement for one key, whose values are followed by its place.
func (l lookup) single() string {
	var places []string
	for i, name := range l.columns {
		places = append(places, "key."+name, "$"+strconv.Itoa(i+1))
	}
	//nolint:unqueryvet // what is found names its columns
	return "SELECT found.*, $" + strconv.Itoa(len(l.columns)+1) + " FROM (" + strings.NewReplacer(places...).Replace(l.statement) + ") AS found"
}
