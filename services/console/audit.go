package console

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

const (
	// auditChunk is how many records are compared at once; auditPositions how many are read at positions, whose
	// payloads are all in memory then.
	auditChunk     = 2000
	auditPositions = 200
	// auditSince is how far an audit looks back by itself: the default retention of the history, less the day
	// that is being dropped.
	auditSince = 29 * 24 * time.Hour
	// auditProgress is how often an audit says how far it has come.
	auditProgress = 2 * time.Second
	// auditTold bounds the memory of deliveries that were told of: several records speak of one, often far apart.
	auditTold = 100_000
	// recorderGroup is the recorder's group, under the topic prefix.
	recorderGroup = "recorder"
)

// AuditProgress says how far an audit has come.
type AuditProgress struct {
	Records int   `json:"records" doc:"Of the log, compared with the history"`
	Of      int64 `json:"of" doc:"About how many there are"`
	Rows    int   `json:"rows" doc:"Deliveries of the history, compared with the log"`
}

// AuditSummary is the end of an audit.
type AuditSummary struct {
	Events         int   `json:"events" doc:"Records of the log that were compared"`
	Deliveries     int   `json:"deliveries" doc:"The same; a resend is another record of a delivery"`
	Attempts       int   `json:"attempts"`
	Rows           int   `json:"rows" doc:"Deliveries of the history whose position was looked up"`
	NotRecordedYet int64 `json:"not_recorded_yet" doc:"Offsets of the log that the recorder had not committed when the audit began; they are not compared"`
	Unreadable     int   `json:"unreadable" doc:"Records that cannot be read, which the recorder quarantines"`
	Older          int   `json:"older" doc:"Records of things that were received before the time that the audit looks back to"`
	Differences    int   `json:"differences"`
}

// AuditLine is one of its members.
type AuditLine struct {
	Progress *AuditProgress `json:"progress,omitempty"`
	Summary  *AuditSummary  `json:"summary,omitempty" doc:"The last line, unless the audit could not be ended"`
	Problem  *Problem       `json:"problem,omitempty" doc:"The last line, if the audit could not be ended"`
}

type auditInput struct {
	Since string `query:"since" format:"date-time" doc:"What was received before is not compared; it must be within the retention of the history. Without it: 29 days ago"`
}

// Resolve is called by huma beside its own checks, which pass over a time that is empty.
func (in *auditInput) Resolve(hc huma.Context) []error {
	u := hc.URL()
	if u.Query().Has("since") && in.Since == "" {
		return []error{&huma.ErrorDetail{Location: "query.since", Message: "needs a value"}}
	}
	return nil
}

func (s *Service) routeAudit(api huma.API) {
	schemas := api.OpenAPI().Components.Schemas
	line := &huma.Schema{OneOf: []*huma.Schema{
		schemas.Schema(reflect.TypeFor[AuditDifference](), true, ""), schemas.Schema(reflect.TypeFor[AuditLine](), true, ""),
	}}
	add(s, api, route{
		id: "audit", method: http.MethodGet, path: "audit",
		summary: "Compare the log with the history, both ways and of all tenants: every difference is a line",
		scope:   tenant.ScopeAdmin, problems: []int{429}, answers: map[string]*huma.MediaType{linesType: {Schema: line}},
	}, s.audit)
}

func (s *Service) audit(ctx context.Context, in *auditInput) (*huma.StreamResponse, error) {
	if !callerOf(ctx).Platform() {
		return nil, newProblem(http.StatusForbidden, "only a platform key may audit: it looks at all tenants")
	}
	var f invalid.Fields
	since := decodeTime(in.Since, "since", &f)
	if err := f.Err(); err != nil {
		return nil, err
	}
	if since.IsZero() {
		since = time.Now().Add(-auditSince)
	}
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	return s.stream(func(ctx context.Context, out *lines) error {
		select {
		case s.audits <- struct{}{}:
			defer func() { <-s.audits }()
		default:
			return newProblem(http.StatusTooManyRequests, "another audit is running; one at once")
		}
		a := &auditing{s: s, store: store, out: out, since: since, told: map[history.DeliveryKey]bool{}}
		err := a.run(ctx)
		if err != nil && !out.last.IsZero() {
			problem := s.problemOf(ctx, err)
			if ctx.Err() != nil {
				problem = newProblem(http.StatusServiceUnavailable, "the console stops before the audit has ended; begin it again")
			}
			problem.RequestID = requestID(ctx)
			return out.write(AuditLine{Problem: problem})
		}
		return err
	}), nil
}

// auditing is an audit under way.
type auditing struct {
	s        *Service
	store    *sqlhistory.Store
	out      *lines
	since    time.Time
	progress AuditProgress
	summary  AuditSummary
	told     map[history.DeliveryKey]bool // deliveries that are missing or behind
}

func (a *auditing) run(ctx context.Context) error {
	topics := a.s.topics
	within, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	spans, behind, err := a.s.payloads.reader.Committed(within, a.s.cfg.Kafka.TopicPrefix+recorderGroup,
		topics.Events, topics.Deliveries, topics.Suspended, topics.Attempts)
	if err != nil {
		return a.s.logAway(ctx, "an audit is not begun", err)
	}
	a.summary.NotRecordedYet = behind
	for _, span := range spans {
		a.progress.Of += span.To - span.From
	}
	if err := a.out.write(AuditLine{Progress: &a.progress}); err != nil {
		return err
	}
	if err := a.scan(ctx, spans); err != nil {
		return err
	}
	if err := a.walk(ctx); err != nil {
		return err
	}
	return a.out.write(AuditLine{Summary: &a.summary})
}

// scan compares the log with the history. A log of which nothing comes any more is given up.
func (a *auditing) scan(ctx context.Context, spans []kafka.Span) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(stepTimeout, cancel)
	defer stalled.Stop()
	err := a.s.cfg.Kafka.Scan(reading, "console-audit", a.s.log, spans, auditChunk, func(records []*kgo.Record) error {
		defer stalled.Reset(2 * stepTimeout) // the next chunk, with what it asks of SQL
		return a.logChunk(ctx, records)
	})
	if err != nil && reading.Err() != nil && ctx.Err() == nil {
		return a.s.logAway(ctx, "an audit is given up", err)
	}
	return err
}

// logChunk looks for what records say in the history.
func (a *auditing) logChunk(ctx context.Context, records []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	l := readLog(records, a.s.topics, a.since)
	a.progress.Records += len(records)
	a.summary.Events += l.events
	a.summary.Deliveries += l.deliveries
	a.summary.Attempts += l.attempts
	a.summary.Unreadable += l.unreadable
	a.summary.Older += l.expired
	events, deliveries, attempts := l.rows()
	events, err := a.store.MissingEvents(ctx, events)
	if err != nil {
		return err
	}
	if deliveries, err = a.store.MissingDeliveries(ctx, deliveries); err != nil {
		return err
	}
	if attempts, err = a.store.MissingAttempts(ctx, attempts); err != nil {
		return err
	}
	found := append(l.missingEvents(events), l.missingAttempts(attempts)...)
	for _, row := range deliveries {
		if a.told[row.Key()] {
			continue
		}
		stored, err := a.store.Stored(ctx, row)
		switch {
		case errors.Is(err, sqldb.ErrNotFound):
			found = append(found, l.missingDelivery(row, nil))
		case err != nil:
			return err
		case stored.Covers(row):
			continue // it was recorded just now
		default:
			found = append(found, l.missingDelivery(row, &stored))
		}
		if len(a.told) < auditTold {
			a.told[row.Key()] = true
		}
	}
	return a.report(found)
}

// walk looks for what the history's deliveries point at in the log.
func (a *auditing) walk(ctx context.Context) error {
	var last history.Delivery
	for {
		rows, err := a.rowsBehind(ctx, last)
		if err != nil || len(rows) == 0 {
			return err
		}
		last = rows[len(rows)-1]
		if err := a.rowChunk(ctx, rows); err != nil {
			return err
		}
	}
}

func (a *auditing) rowsBehind(ctx context.Context, last history.Delivery) ([]history.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	return a.store.Walk(ctx, a.since, last, auditPositions)
}

func (a *auditing) rowChunk(ctx context.Context, rows []history.Delivery) error {
	within, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	at := make([]delivery.Position, 0, len(rows))
	for _, d := range rows {
		at = append(at, d.Position)
	}
	records, err := a.s.payloads.reader.ReadAt(within, at)
	if err != nil {
		return a.s.logAway(ctx, "an audit is given up", err)
	}
	var starts map[string]map[int32]int64
	if gone := topicsOfGone(at, records); len(gone) > 0 {
		if starts, err = a.s.payloads.reader.Starts(within, gone...); err != nil {
			return a.s.logAway(ctx, "an audit is given up", err)
		}
	}
	a.progress.Rows += len(rows)
	a.summary.Rows += len(rows)
	return a.report(strangers(rows, records, starts, a.s.topics))
}

// topicsOfGone are the topics of positions at which nothing stands.
func topicsOfGone(at []delivery.Position, records map[delivery.Position]*kgo.Record) (topics []string) {
	seen := map[string]bool{"": true}
	for _, p := range at {
		if records[p] == nil && !seen[p.Topic] {
			seen[p.Topic] = true
			topics = append(topics, p.Topic)
		}
	}
	return topics
}

// report writes what was found, and now and then how far the audit has come.
func (a *auditing) report(found []AuditDifference) error {
	a.summary.Differences += len(found)
	var values []any
	for _, d := range found {
		values = append(values, d)
	}
	if time.Since(a.out.last) >= auditProgress {
		values = append(values, AuditLine{Progress: &a.progress})
	}
	if len(values) == 0 {
		return nil
	}
	return a.out.write(values...)
}
