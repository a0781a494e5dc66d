package sqlhistory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Lists are ordered by the whole key of their rows.
var (
	deliveryOrder = []string{"received_at", "id"}
	eventOrder    = []string{"received_at", "id", "log_topic", "log_partition", "log_offset"}
)

// Deliveries lists a tenant's deliveries, with the cursor of the next page, empty at the end. It errs with
// ErrCursor.
func (s *Store) Deliveries(ctx context.Context, f DeliveryFilter, p Page) ([]ListedDelivery, string, error) {
	statement, args, err := s.deliveriesQuery(f, p)
	if err != nil {
		return nil, "", err
	}
	rows, err := sqldb.All(ctx, s.Read, scanDelivery, statement, s.planned(args)...)
	if err != nil {
		return nil, "", fmt.Errorf("list deliveries: %w", err)
	}
	rows, next := cut(rows, p, func(d history.Delivery) cursor {
		return cursor{List: listOfDeliveries, ReceivedAt: sqldb.Nanos(d.ReceivedAt), ID: d.ID}
	})
	listed, err := s.withLastPosts(ctx, rows)
	if err != nil {
		return nil, "", fmt.Errorf("list deliveries: their attempts: %w", err)
	}
	return listed, next, nil
}

func (s *Store) deliveriesQuery(f DeliveryFilter, p Page) (statement string, args []any, err error) {
	after, err := p.after(listOfDeliveries)
	if err != nil {
		return "", nil, err
	}
	q := &query{page: p, columns: deliveryColumns, table: "deliveries", order: deliveryOrder}
	q.and("tenant = ?", text(f.Tenant))
	q.equal("webhook_id", f.WebhookID)
	q.equal("event_id", f.EventID)
	q.equal("event_type", f.EventType)
	q.equal("external_reference", f.ExternalReference)
	q.between(f.From, f.To)
	if after != nil {
		q.beyond(after.ReceivedAt, after.ID)
	}
	q.limit()
	statuses := slices.Clone(f.Statuses)
	slices.Sort(statuses)
	statuses = slices.Compact(statuses)
	if len(statuses) == 0 || slices.Contains(statuses, delivery.Delivered) {
		q.among("status", statuses) // most rows are: no index but that of the other columns helps
		return q.selected(s.indexed(deliveryIndex(f, false))), q.args, nil
	}
	// One part for each status, of which each has the order of its index: an index that holds several
	// statuses would have to be read whole to be sorted.
	var parts []string
	for _, status := range statuses {
		part := *q
		part.terms = slices.Clone(q.terms)
		part.and("status = ?", text(status))
		part.and("status <> 'delivered'") // the condition of the partial indexes, word for word
		q.args = part.args
		parts = append(parts, part.selected(s.indexed(deliveryIndex(f, true))))
	}
	return q.union(parts), q.args, nil
}

// deliveryIndex is the index that leaves the fewest rows to look at, as far as a filter tells, of a rare
// status or of any; empty: the primary key.
func deliveryIndex(f DeliveryFilter, rare bool) string {
	switch {
	case f.EventID != "":
		return "deliveries_event"
	case f.ExternalReference != "":
		return "deliveries_reference"
	case f.WebhookID != "" && rare:
		return "deliveries_webhook_status"
	case f.WebhookID != "":
		return "deliveries_webhook"
	case rare:
		return "deliveries_status"
	case f.EventType != "":
		return "deliveries_type"
	}
	return ""
}

// Events lists a tenant's events, with the cursor of the next page, empty at the end. It errs with ErrCursor.
func (s *Store) Events(ctx context.Context, f EventFilter, p Page) ([]history.Event, string, error) {
	statement, args, err := s.eventsQuery(f, p)
	if err != nil {
		return nil, "", err
	}
	rows, err := sqldb.All(ctx, s.Read, scanEvent, statement, s.planned(args)...)
	if err != nil {
		return nil, "", fmt.Errorf("list events: %w", err)
	}
	rows, next := cut(rows, p, func(e history.Event) cursor {
		return cursor{
			List: listOfEvents, ReceivedAt: sqldb.Nanos(e.ReceivedAt), ID: e.ID,
			Topic: e.Position.Topic, Partition: int64(e.Position.Partition), Offset: e.Position.Offset,
		}
	})
	return rows, next, nil
}

func (s *Store) eventsQuery(f EventFilter, p Page) (statement string, args []any, err error) {
	after, err := p.after(listOfEvents)
	if err != nil {
		return "", nil, err
	}
	q := &query{page: p, columns: eventColumns, table: "events", order: eventOrder}
	q.and("tenant = ?", text(f.Tenant))
	q.equal("id", f.ID)
	q.equal("type", f.Type)
	q.equal("external_reference", f.ExternalReference)
	q.between(f.From, f.To)
	if after != nil {
		q.beyond(after.ReceivedAt, after.ID, after.Topic, after.Partition, after.Offset)
	}
	q.limit()
	return q.selected(s.indexed(eventIndex(f))), q.args, nil
}

func eventIndex(f EventFilter) string {
	switch {
	case f.ID != "":
		return "events_id"
	case f.ExternalReference != "":
		return "events_reference"
	case f.Type != "":
		return "events_type"
	}
	return ""
}

// indexed says which index a statement reads by. SQLite has no statistics to choose from, takes what names
// most columns, and refuses an index that does not serve the statement; PostgreSQL chooses for itself.
func (s *Store) indexed(by string) string {
	if by == "" || s.Postgres() {
		return ""
	}
	return " INDEXED BY " + by
}

// planned has PostgreSQL plan a list anew for its values. A plan for any values, which it would go over to
// once it has seen a statement some times, takes what is frequent for rare and sorts all of it.
func (s *Store) planned(args []any) []any {
	if !s.Postgres() {
		return args
	}
	return append([]any{pgx.QueryExecModeCacheDescribe}, args...)
}

// query is a SELECT of a page in the making.
type query struct {
	page           Page
	columns, table string
	order          []string
	terms          []string
	args           []any
	max            string // placeholder of the number of rows
}

// place is the placeholder of a value.
func (q *query) place(value any) string {
	q.args = append(q.args, value)
	return "$" + strconv.Itoa(len(q.args))
}

// and adds a condition, in which each ? stands for the next value.
func (q *query) and(term string, values ...any) {
	for _, v := range values {
		term = strings.Replace(term, "?", q.place(v), 1)
	}
	q.terms = append(q.terms, term)
}

// equal filters by a text unless it is empty.
func (q *query) equal(column, value string) {
	if value == "" {
		return
	}
	q.and(column+" = ?", text(value))
	if column == "external_reference" {
		q.and("external_reference <> ''") // the condition of the partial indexes, word for word
	}
}

// among filters by a list of values unless it is empty.
func (q *query) among(column string, values []delivery.Status) {
	if len(values) == 0 {
		return
	}
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(values)), ", ")
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = text(v)
	}
	q.and(column+" IN ("+marks+")", args...)
}

// between filters by received_at: from inclusive, to exclusive, zero times not at all.
func (q *query) between(from, to time.Time) {
	if !from.IsZero() {
		q.and("received_at >= ?", sqldb.Nanos(from))
	}
	if !to.IsZero() {
		q.and("received_at < ?", sqldb.Nanos(to))
	}
}

// beyond leaves out what is not behind the row with these values of the order's columns. PostgreSQL leaves
// out days by the first of them alone.
func (q *query) beyond(first int64, others ...any) {
	than := ">"
	if !q.page.Ascending {
		than = "<"
	}
	q.and(q.order[0]+" "+than+"= ?", first)
	places := []string{q.place(first)}
	for _, v := range others {
		places = append(places, q.place(v))
	}
	q.and("(" + strings.Join(q.order, ", ") + ") " + than + " (" + strings.Join(places, ", ") + ")")
}

// limit reads one row more than the page has, which tells whether there is a next one.
func (q *query) limit() { q.max = q.place(int64(q.page.Limit) + 1) }

func (q *query) selected(index string) string {
	return "SELECT " + q.columns + " FROM " + q.table + index + " WHERE " + strings.Join(q.terms, " AND ") + q.ordered()
}

// union is the page of several parts.
func (q *query) union(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	for i, part := range parts {
		parts[i] = "SELECT * FROM (" + part + ") AS part" + strconv.Itoa(i) //nolint:unqueryvet // the part names its columns
	}
	return strings.Join(parts, " UNION ALL ") + q.ordered()
}

func (q *query) ordered() string {
	direction := " DESC"
	if q.page.Ascending {
		direction = ""
	}
	return " ORDER BY " + strings.Join(q.order, direction+", ") + direction + " LIMIT " + q.max
}

// lastPostKey are the columns of a delivery that its attempts are found by.
var lastPostKey = []string{"received_at", "id"}

const lastPost = "SELECT " + attemptColumns + `, count(*) OVER () AS posts FROM attempts
	WHERE received_at = key.received_at AND delivery_id = key.id AND kind = 'post'
	ORDER BY started_at DESC, run_id DESC, attempt DESC LIMIT 1`

// withLastPosts adds what a list says of the deliveries' attempts.
func (s *Store) withLastPosts(ctx context.Context, rows []history.Delivery) ([]ListedDelivery, error) {
	keys := make([][]any, len(rows))
	listed := make([]ListedDelivery, len(rows))
	for i, d := range rows {
		keys[i] = []any{sqldb.Nanos(d.ReceivedAt), d.ID}
		listed[i].Delivery = d
	}
	return listed, s.lookUp(ctx, lookup{lastPostKey, lastPost, keys, func(row sqldb.Scanner) error {
		var (
			last      history.Attempt
			count, at int
		)
		if err := row.Scan(append(attemptTargets(&last), &count, &at)...); err != nil {
			return err
		}
		listed[at].Attempts, listed[at].LastAttempt = count, last
		return nil
	}})
}
