package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// listed is how a list's rows are read. The fields of its lists.List are columns of the table.
type listed[T any] struct {
	table   string
	columns []string
	scan    func(sqldb.Scanner) (T, error)
}

// scope is whose rows a list has: of one tenant, or of all.
type scope struct {
	tenant   string
	column   string // that holds it; empty: tenant
	everyone bool
}

// page reads what a list is asked, within a scope.
func page[T any](ctx context.Context, s *Store, of listed[T], scope scope, q lists.Query) ([]T, lists.Found, error) {
	statement, args := pageStatement(of.table, of.columns, scope, q, s.Postgres())
	var last []any
	n := 0
	rows, err := sqldb.All(ctx, s.Read, func(row sqldb.Scanner) (T, error) {
		keys := newKeys(q.Sort)
		v, err := of.scan(withKeys{row, keys})
		if n++; n == q.Limit {
			last = keys
		}
		return v, err
	}, statement, s.planned(args)...)
	if err != nil {
		return nil, lists.Found{}, err
	}
	var found lists.Found
	if len(rows) > q.Limit {
		rows = rows[:q.Limit]
		found.Next = q.Next(valuesOf(last))
	}
	if q.Total {
		statement, args := totalStatement(of.table, scope, q, s.Postgres())
		total, err := count(ctx, s.Read, statement, s.planned(args)...)
		if err != nil {
			return nil, lists.Found{}, err
		}
		found.Total, found.More = new(min(total, lists.MaxCounted)), total > lists.MaxCounted
	}
	return rows, found, nil
}

// planned has PostgreSQL plan a list anew for its values: a plan for any values takes what is frequent for rare.
func (s *Store) planned(args []any) []any {
	if !s.Postgres() {
		return args
	}
	return append([]any{pgx.QueryExecModeCacheDescribe}, args...)
}

// withKeys reads, behind the columns of a row, those that its list is ordered by.
type withKeys struct {
	row  sqldb.Scanner
	keys []any
}

// Scan reads the row.
func (w withKeys) Scan(to ...any) error { return w.row.Scan(append(to, w.keys...)...) }

func newKeys(sort []lists.Order) []any {
	keys := make([]any, len(sort))
	for i, o := range sort {
		switch o.Field.Kind {
		case lists.Bool:
			keys[i] = new(bool)
		case lists.Number, lists.Time:
			keys[i] = new(int64)
		default:
			keys[i] = new(string)
		}
	}
	return keys
}

func valuesOf(keys []any) []any {
	values := make([]any, len(keys))
	for i, k := range keys {
		switch k := k.(type) {
		case *bool:
			values[i] = *k
		case *int64:
			values[i] = *k
		case *string:
			values[i] = *k
		}
	}
	return values
}

// pageStatement reads one row more than the page has, which tells whether there is a next one.
func pageStatement(table string, columns []string, of scope, q lists.Query, postgres bool) (string, []any) {
	b := &conditions{postgres: postgres}
	index := b.index(table, of, q, q.Sort[0].Field)
	b.filter(of, q.Filter)
	if q.After != nil {
		b.beyond(q.Sort, q.After)
	}
	names, order := make([]string, len(q.Sort)), make([]string, len(q.Sort))
	for i, o := range q.Sort {
		names[i], order[i] = column(o.Field), column(o.Field)
		if o.Descending {
			order[i] += " DESC"
		}
	}
	return "SELECT " + strings.Join(columns, ", ") + ", " + strings.Join(names, ", ") + " FROM " + table + index + b.where() +
		" ORDER BY " + strings.Join(order, ", ") + " LIMIT " + b.place(int64(q.Limit)+1), b.args
}

// totalStatement counts one row more than is said, and no more: so a count costs a bounded part of the table.
func totalStatement(table string, of scope, q lists.Query, postgres bool) (string, []any) {
	b := &conditions{postgres: postgres}
	index := b.index(table, of, q, lists.Field{})
	b.filter(of, q.Filter)
	return "SELECT count(*) FROM (SELECT 1 FROM " + table + index + b.where() + " LIMIT " + b.place(int64(lists.MaxCounted)+1) + ") AS counted", b.args
}

// column is a field's, quoted: group is a word of SQL.
func column(f lists.Field) string { return `"` + f.Name + `"` }

// conditions are what rows of a list must be. Names come from whitelists, and all else is a placeholder.
type conditions struct {
	postgres bool
	byKey    bool // few rows are meant, by their keys: the tenant's index does not help
	terms    []string
	args     []any
}

// indexed reports whether each field that the table's list is sorted by, but for the key, has an index TABLE_by_FIELD
// over the tenant (if the table has one), the field and the key. Other tables' lists are short, or have one order.
func indexed(table string) bool {
	return slices.Contains([]string{"webhooks", "api_keys", "administrators", "tenants", "jobs"}, table)
}

// index says which index a statement reads by. SQLite has no statistics to choose from; PostgreSQL chooses for
// itself. The order's index is read to its limit, unless rows of a certain text are asked for, which are few.
func (b *conditions) index(table string, of scope, q lists.Query, order lists.Field) string {
	if b.postgres || of.column != "" || !indexed(table) {
		return ""
	}
	key := q.Sort[len(q.Sort)-1].Field.Name
	by := order.Name
	if !order.Sorts || by == key {
		by = ""
	}
	for _, c := range q.Filter {
		certain := c.Op == lists.Eq || c.Op == lists.In
		if certain && c.Field.Name == key {
			b.byKey = true
			return ""
		}
		if certain && c.Field.Sorts && (c.Field.Kind == lists.Text || c.Field.Kind == lists.ID) {
			by = c.Field.Name
		}
	}
	if by == "" {
		return ""
	}
	return " INDEXED BY " + table + "_by_" + by
}

// place is the placeholder of a value.
func (b *conditions) place(value any) string {
	b.args = append(b.args, value)
	return "$" + strconv.Itoa(len(b.args))
}

func (b *conditions) places(values []any) string {
	places := make([]string, len(values))
	for i, v := range values {
		places[i] = b.place(v)
	}
	return strings.Join(places, ", ")
}

func (b *conditions) and(term string) { b.terms = append(b.terms, term) }

func (b *conditions) where() string {
	if len(b.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(b.terms, " AND ")
}

func (b *conditions) filter(of scope, filter []lists.Condition) {
	if !of.everyone {
		column := cmp.Or(of.column, "tenant")
		if b.byKey {
			column = "+" + column // SQLite finds no index for it
		}
		b.and(column + " = " + b.place(of.tenant))
	}
	for _, c := range filter {
		switch {
		case c.Field.Kind == lists.Members:
			b.and(b.member(c))
		case c.Null():
			b.and(column(c.Field) + operator(c.Op) + "0")
		default:
			if c.Field.Null && c.Op != lists.Ne {
				b.and(column(c.Field) + " <> 0") // null, which nothing but ne holds of
			}
			b.and(b.compare(c))
		}
	}
}

// compare is a condition on a column of one value.
func (b *conditions) compare(c lists.Condition) string {
	column := column(c.Field)
	switch c.Op {
	case lists.In:
		return column + " IN (" + b.places(c.Values) + ")"
	case lists.Contains:
		// Both fold a-z alone: SQLite always does, PostgreSQL in this collation.
		part := b.place(c.Values[0])
		if b.postgres {
			return `strpos(lower(` + column + ` COLLATE "C"), lower(` + part + `::text COLLATE "C")) > 0`
		}
		return "instr(lower(" + column + "), lower(" + part + ")) > 0"
	default:
		return column + operator(c.Op) + b.place(c.Values[0])
	}
}

func operator(op lists.Op) string {
	switch op {
	case lists.Ne:
		return " <> "
	case lists.Gt:
		return " > "
	case lists.Gte:
		return " >= "
	case lists.Lt:
		return " < "
	case lists.Lte:
		return " <= "
	default:
		return " = "
	}
}

// member is a condition on a column of a JSON array of texts.
func (b *conditions) member(c lists.Condition) string {
	not := ""
	if c.Op == lists.Ne {
		not = "NOT "
	}
	if b.postgres {
		return not + "(" + column(c.Field) + " ?| ARRAY[" + b.places(c.Values) + "]::text[])"
	}
	return not + "EXISTS (SELECT 1 FROM json_each(" + column(c.Field) + ") WHERE value IN (" + b.places(c.Values) + "))"
}

// beyond leaves out what is not behind the row with these values of the order's columns.
func (b *conditions) beyond(order []lists.Order, values []any) {
	places := make([]string, len(order))
	names := make([]string, len(order))
	oneWay := true
	for i, o := range order {
		places[i], names[i] = b.place(values[i]), column(o.Field)
		oneWay = oneWay && o.Descending == order[0].Descending
	}
	if oneWay {
		b.and("(" + strings.Join(names, ", ") + ")" + than(order[0]) + "(" + strings.Join(places, ", ") + ")")
		return
	}
	// An index is read from the first column's value on.
	b.and(names[0] + strings.TrimSuffix(than(order[0]), " ") + "= " + places[0])
	last := len(order) - 1
	term := names[last] + than(order[last]) + places[last]
	for i := last - 1; i >= 0; i-- {
		term = names[i] + than(order[i]) + places[i] + " OR " + names[i] + " = " + places[i] + " AND (" + term + ")"
	}
	b.and("(" + term + ")")
}

// than is how a row that comes later compares with one that comes before.
func than(o lists.Order) string {
	if o.Descending {
		return " < "
	}
	return " > "
}
