package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strings"
)

// listed is what every command has that prints a list of the REST API.
type listed struct {
	rest    `embed:""`
	Sort    []string `placeholder:"FIELD" help:"Order by these fields, - before one for descending, e.g. --sort=-created_at,name. An unknown one is answered with those there are."`
	Filters []string `name:"filter" sep:"none" placeholder:"FIELD[OP]=VALUE" help:"Only rows of which this holds, again for more, e.g. name=a, name[contains]=a, created_at[gte]=2026-03-04T00:00:00Z. OP is eq, ne, gt, gte, lt, lte, in or contains."`
}

// paged is a list that may be long, as those of the history are.
type paged struct {
	listed `embed:""`
	Limit  int  `default:"50" help:"How many at most."`
	All    bool `help:"All of them, however many."`
}

// most is how many rows are wanted.
func (p paged) most() (int, error) {
	switch {
	case p.Limit < 1:
		return 0, usageError{errors.New("--limit: must be at least 1")}
	case p.All:
		return math.MaxInt, nil
	}
	return p.Limit, nil
}

var filterName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(\[[a-z]+\])?$`)

// ask adds to a query, which may be nil, the order and the filters that are asked for.
func (l listed) ask(q url.Values) (url.Values, error) {
	if q == nil {
		q = url.Values{}
	}
	if l.Sort != nil {
		q.Set("sort", strings.Join(l.Sort, ","))
	}
	for _, text := range l.Filters {
		name, value, ok := strings.Cut(text, "=")
		parts := filterName.FindStringSubmatch(name)
		if !ok || parts == nil {
			return nil, usageError{fmt.Errorf("--filter %q: want FIELD=VALUE or FIELD[OP]=VALUE, e.g. name[contains]=a", text)}
		}
		name = "filter[" + parts[1] + "]" + parts[2]
		if q.Has(name) {
			return nil, usageError{fmt.Errorf("--filter %q: %s is given twice", text, name)}
		}
		q.Set(name, value)
	}
	return q, nil
}

// column is one of a list's table.
type column[T any] struct {
	title string
	cell  func(T) string
}

// read reads up to most rows of a list, and reports whether it has printed them as the API gives them.
func (l listed) read(ctx context.Context, streams IO, path string, query url.Values, most int) ([]json.RawMessage, bool, error) {
	query, err := l.ask(query)
	if err != nil {
		return nil, false, err
	}
	rows, more, err := some[json.RawMessage](ctx, l.rest, path, query, most)
	if err != nil {
		return nil, false, err
	}
	if more {
		fmt.Fprintf(streams.Err, "the first %d of the list; there are more: --limit or --all shows them\n", len(rows))
	}
	done, err := l.Output.json(streams.Out, rows)
	return rows, done, err
}

// printList prints up to most rows of a list as a table, or as the API gives them.
func printList[T any](ctx context.Context, l listed, streams IO, path string, query url.Values, most int, columns ...column[T]) error {
	raw, done, err := l.read(ctx, streams, path, query, most)
	if done || err != nil {
		return err
	}
	var titles []string
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	rows := make([][]string, len(raw))
	for i, b := range raw {
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("%s: row %d of the list: %w", path, i+1, err)
		}
		for _, c := range columns {
			rows[i] = append(rows[i], c.cell(v))
		}
	}
	return table(streams.Out, titles, rows)
}
