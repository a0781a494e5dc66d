package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// JobKind is what a job does to the deliveries that it selects.
type JobKind string

// The kinds.
const (
	JobRelease JobKind = "release"
	JobDiscard JobKind = "discard"
)

// JobStatus is how far a job has come.
type JobStatus string

// The statuses: waiting, then running, then done or failed.
const (
	JobWaiting JobStatus = "waiting"
	JobRunning JobStatus = "running"
	JobDone    JobStatus = "done"
	JobFailed  JobStatus = "failed"
)

// Job is a change of many suspended deliveries of one webhook, which goes on in the background.
type Job struct {
	ID          string // UUIDv7
	Tenant      string
	WebhookID   string
	Kind        JobKind
	Selection   Selection
	Status      JobStatus
	RequestedBy string // id of an API key
	Changed     int64  // deliveries released or discarded
	Skipped     int64  // deliveries whose payload is gone
	Error       string // of a failed one
	Version     uint64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	FinishedAt  time.Time // zero: not finished
}

// Selection says which suspended deliveries of its webhook a job is about. Empty fields select all.
type Selection struct {
	EventTypes    []string // patterns, as webhook.TypeMatches reads them
	DeliveryIDs   []string
	Reason        string    // why it was suspended
	SuspendedFrom time.Time // inclusive
	SuspendedTo   time.Time // exclusive
	// Before holds offsets of `deliveries.suspended` by partition: only what stands before them. Nil: wherever it
	// stands.
	Before map[int32]int64
}

// selectionRow is the shape of the column selection; times are Unix nanoseconds.
type selectionRow struct {
	EventTypes    []string        `json:"event_types,omitempty"`
	DeliveryIDs   []string        `json:"delivery_ids,omitempty"`
	Reason        string          `json:"reason,omitempty"`
	SuspendedFrom int64           `json:"suspended_from,omitempty"`
	SuspendedTo   int64           `json:"suspended_to,omitempty"`
	Before        map[int32]int64 `json:"before,omitempty"`
}

func selectionToRow(s Selection) selectionRow {
	return selectionRow{s.EventTypes, s.DeliveryIDs, s.Reason, sqldb.Nanos(s.SuspendedFrom), sqldb.Nanos(s.SuspendedTo), s.Before}
}

func (r selectionRow) selection() (Selection, error) {
	s := Selection{EventTypes: r.EventTypes, DeliveryIDs: r.DeliveryIDs, Reason: r.Reason, Before: r.Before}
	err := cmp.Or(sqldb.Stamp{T: &s.SuspendedFrom}.Scan(r.SuspendedFrom), sqldb.Stamp{T: &s.SuspendedTo}.Scan(r.SuspendedTo))
	return s, err
}

// jobColumns are in the order of jobValues and scanJob. The first seven never change.
var jobColumns = []string{
	"id", "tenant", "webhook_id", "kind", "selection", "requested_by", "created_at",
	"status", "changed", "skipped", "error", "version", "updated_at", "finished_at",
}

const jobFixed = 7

func jobValues(j Job) []any {
	return []any{
		j.ID, j.Tenant, j.WebhookID, string(j.Kind), sqldb.AsJSON(selectionToRow(j.Selection)), j.RequestedBy, sqldb.Nanos(j.CreatedAt),
		string(j.Status), j.Changed, j.Skipped, j.Error, int64(j.Version), sqldb.Nanos(j.UpdatedAt), sqldb.Nanos(j.FinishedAt), //nolint:gosec // grows by ones
	}
}

func scanJob(row sqldb.Scanner) (Job, error) {
	var (
		j         Job
		selection selectionRow
	)
	err := row.Scan(&j.ID, &j.Tenant, &j.WebhookID, &j.Kind, sqldb.Document{To: &selection}, &j.RequestedBy, sqldb.Stamp{T: &j.CreatedAt},
		&j.Status, &j.Changed, &j.Skipped, &j.Error, &j.Version, sqldb.Stamp{T: &j.UpdatedAt}, sqldb.Stamp{T: &j.FinishedAt})
	if err != nil {
		return Job{}, err
	}
	j.Selection, err = selection.selection()
	return j, err
}

var selectJobs = "SELECT " + strings.Join(jobColumns, ", ") + " FROM jobs"

// CreateJob stores a new job as version 1 and returns it so. It errs with ErrNotFound if there is no such
// tenant.
func (s *Store) CreateJob(ctx context.Context, j Job) (Job, error) {
	j.Version = 1
	err := s.Change(ctx, func(tx *sql.Tx) error {
		if held, err := hold(ctx, tx, j.Tenant); err != nil || !held {
			return cmp.Or(err, ErrNotFound)
		}
		values := jobValues(j)
		_, err := tx.ExecContext(ctx, "INSERT INTO jobs ("+strings.Join(jobColumns, ", ")+") VALUES ("+sqldb.Places(len(values))+")", values...)
		return err
	})
	if err != nil {
		return Job{}, fmt.Errorf("create job %s: %w", j.ID, err)
	}
	return j, nil
}

// Job is the tenant's job of that id. It errs with ErrNotFound, also for another tenant's.
func (s *Store) Job(ctx context.Context, tenant, id string) (Job, error) {
	j, err := sqldb.One(ctx, s.Read, scanJob, selectJobs+" WHERE tenant = $1 AND id = $2", tenant, id)
	if err != nil {
		return Job{}, fmt.Errorf("job %s: %w", id, err)
	}
	return j, nil
}

var jobsQuery = selectJobs + " WHERE tenant = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"

// Jobs lists a tenant's jobs, oldest first, with the cursor of the next page, empty at the end. It errs
// with ErrCursor.
func (s *Store) Jobs(ctx context.Context, tenant string, p Page) ([]Job, string, error) {
	at, id, err := p.after()
	if err != nil {
		return nil, "", err
	}
	rows, err := sqldb.All(ctx, s.Read, scanJob, jobsQuery, tenant, at, id, p.Limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list jobs: %w", err)
	}
	rows, next := cut(rows, p.Limit, func(j Job) (time.Time, string) { return j.CreatedAt, j.ID })
	return rows, next, nil
}

// openJobsQuery has the condition of the partial index, word for word.
var openJobsQuery = selectJobs + " WHERE status IN ('waiting', 'running') ORDER BY created_at, id LIMIT $1"

// OpenJobs are the jobs of all tenants that are waiting or running, oldest first.
func (s *Store) OpenJobs(ctx context.Context, limit int) ([]Job, error) {
	rows, err := sqldb.All(ctx, s.Read, scanJob, openJobsQuery, limit)
	if err != nil {
		return nil, fmt.Errorf("list open jobs: %w", err)
	}
	return rows, nil
}

// UpdateJob stores how far a job has come, which was read at j.Version, as the next version and returns it
// so. It errs with ErrConflict if the job has another version by now, with ErrNotFound if it is gone. What
// was asked for stays.
func (s *Store) UpdateJob(ctx context.Context, j Job) (Job, error) {
	before := j.Version
	j.Version++
	err := s.Change(ctx, func(tx *sql.Tx) error {
		values := jobValues(j)[jobFixed:]
		n := len(values)
		done, err := affected(tx.ExecContext(ctx, "UPDATE jobs SET ("+strings.Join(jobColumns[jobFixed:], ", ")+") = ("+
			sqldb.Places(n)+") WHERE "+fmt.Sprintf("tenant = $%d AND id = $%d AND version = $%d", n+1, n+2, n+3),
			append(values, j.Tenant, j.ID, int64(before))...)) //nolint:gosec // grows by ones
		if err != nil || done {
			return err
		}
		if n, err := count(ctx, tx, "SELECT count(*) FROM jobs WHERE tenant = $1 AND id = $2", j.Tenant, j.ID); err != nil || n > 0 {
			return cmp.Or(err, ErrConflict)
		}
		return ErrNotFound
	})
	if err != nil {
		return Job{}, fmt.Errorf("update job %s: %w", j.ID, err)
	}
	return j, nil
}

// deleteFinishedJobs has the condition of the partial index, word for word.
const deleteFinishedJobs = "DELETE FROM jobs WHERE finished_at > 0 AND finished_at < $1"

// DeleteFinishedJobs removes the jobs that were finished before that time.
func (s *Store) DeleteFinishedJobs(ctx context.Context, before time.Time) error {
	if _, err := s.Write.ExecContext(ctx, deleteFinishedJobs, sqldb.Nanos(before)); err != nil {
		return fmt.Errorf("delete finished jobs: %w", err)
	}
	return nil
}
