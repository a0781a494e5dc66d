package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// JobKind is what a job does to the deliveries that it selects.
type JobKind string

// The kinds.
const (
	JobRelease JobKind = "release"
	JobDiscard JobKind = "discard"
	JobRecover JobKind = "recover"
)

// JobStatus is how far a job has come.
type JobStatus string

// The statuses: waiting, then running, then done or failed. A person may pause what waits or runs, which resumed waits
// again, and cancel what has not ended.
const (
	JobWaiting   JobStatus = "waiting"
	JobRunning   JobStatus = "running"
	JobPaused    JobStatus = "paused"
	JobDone      JobStatus = "done"
	JobFailed    JobStatus = "failed"
	JobCancelled JobStatus = "cancelled"
)

// Ended reports whether a job has come to its end, whichever.
func (s JobStatus) Ended() bool { return s == JobDone || s == JobFailed || s == JobCancelled }

// Job is a change of many deliveries of one webhook, which goes on in the background.
type Job struct {
	ID          string // UUIDv7
	Tenant      string
	WebhookID   string
	Kind        JobKind
	Selection   Selection
	Status      JobStatus
	RequestedBy string // id of an API key
	Total       int64  // deliveries that were selected when it began; JobUncounted: not counted yet
	Changed     int64  // deliveries released, discarded or sent again
	Skipped     Skips  // deliveries that stay as they are
	Error       string // of a failed one
	Version     uint64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	FinishedAt  time.Time // zero: not finished
}

// JobUncounted is the total of a job that has not begun.
const JobUncounted = -1

// Skips are how many deliveries a job left as they are, by why.
type Skips struct {
	Gone       int64 `json:"payload_gone,omitempty"` // the log does not hold the payload any more
	Unreadable int64 `json:"unreadable,omitempty"`   // what the log holds cannot be sent
}

// Sum is how many there are in all.
func (s Skips) Sum() int64 { return s.Gone + s.Unreadable }

// Max is the greater of each.
func (s Skips) Max(other Skips) Skips {
	return Skips{Gone: max(s.Gone, other.Gone), Unreadable: max(s.Unreadable, other.Unreadable)}
}

// Selection says which deliveries of its webhook a job is about: of a release and a discard the suspended ones, of a
// recover those with one of its statuses. Empty fields select all.
type Selection struct {
	EventTypes    []string // patterns, as webhook.TypeMatches reads them
	DeliveryIDs   []string
	Reason        string    // why it was suspended
	SuspendedFrom time.Time // inclusive
	SuspendedTo   time.Time // exclusive
	Statuses      []delivery.Status
	Since         time.Time // inclusive: when it came to its status
	Until         time.Time // exclusive
	// Before holds offsets of `deliveries.suspended` by partition: only what stands before them. Nil: wherever it
	// stands. RunsBefore holds the same of `deliveries`.
	Before     map[int32]int64
	RunsBefore map[int32]int64
}

// selectionRow is the shape of the column selection; times are Unix nanoseconds.
type selectionRow struct {
	EventTypes    []string          `json:"event_types,omitempty"`
	DeliveryIDs   []string          `json:"delivery_ids,omitempty"`
	Reason        string            `json:"reason,omitempty"`
	SuspendedFrom int64             `json:"suspended_from,omitempty"`
	SuspendedTo   int64             `json:"suspended_to,omitempty"`
	Statuses      []delivery.Status `json:"statuses,omitempty"`
	Since         int64             `json:"since,omitempty"`
	Until         int64             `json:"until,omitempty"`
	Before        map[int32]int64   `json:"before,omitempty"`
	RunsBefore    map[int32]int64   `json:"runs_before,omitempty"`
}

func selectionToRow(s Selection) selectionRow {
	return selectionRow{
		s.EventTypes, s.DeliveryIDs, s.Reason, sqldb.Nanos(s.SuspendedFrom), sqldb.Nanos(s.SuspendedTo),
		s.Statuses, sqldb.Nanos(s.Since), sqldb.Nanos(s.Until), s.Before, s.RunsBefore,
	}
}

func (r selectionRow) selection() (Selection, error) {
	s := Selection{
		EventTypes: r.EventTypes, DeliveryIDs: r.DeliveryIDs, Reason: r.Reason, Statuses: r.Statuses,
		Before: r.Before, RunsBefore: r.RunsBefore,
	}
	err := cmp.Or(
		sqldb.Stamp{T: &s.SuspendedFrom}.Scan(r.SuspendedFrom), sqldb.Stamp{T: &s.SuspendedTo}.Scan(r.SuspendedTo),
		sqldb.Stamp{T: &s.Since}.Scan(r.Since), sqldb.Stamp{T: &s.Until}.Scan(r.Until),
	)
	return s, err
}

// jobColumns are in the order of jobValues and scanJob. The first seven never change.
var jobColumns = []string{
	"id", "tenant", "webhook_id", "kind", "selection", "requested_by", "created_at",
	"status", "total", "changed", "skipped", "skipped_for", "error", "version", "updated_at", "finished_at",
}

const jobFixed = 7

func jobValues(j Job) []any {
	return []any{
		j.ID, j.Tenant, j.WebhookID, string(j.Kind), sqldb.AsJSON(selectionToRow(j.Selection)), j.RequestedBy, sqldb.Nanos(j.CreatedAt),
		string(j.Status), j.Total, j.Changed, j.Skipped.Sum(), sqldb.AsJSON(j.Skipped), j.Error, int64(j.Version), sqldb.Nanos(j.UpdatedAt), sqldb.Nanos(j.FinishedAt), //nolint:gosec // grows by ones
	}
}

func scanJob(row sqldb.Scanner) (Job, error) {
	var (
		j         Job
		selection selectionRow
		skipped   int64 // the sum, for the version before
	)
	err := row.Scan(&j.ID, &j.Tenant, &j.WebhookID, &j.Kind, sqldb.Document{To: &selection}, &j.RequestedBy, sqldb.Stamp{T: &j.CreatedAt},
		&j.Status, &j.Total, &j.Changed, &skipped, sqldb.Document{To: &j.Skipped}, &j.Error, &j.Version, sqldb.Stamp{T: &j.UpdatedAt}, sqldb.Stamp{T: &j.FinishedAt})
	if err != nil {
		return Job{}, err
	}
	j.Selection, err = selection.selection()
	return j, err
}

var selectJobs = "SELECT " + strings.Join(jobColumns, ", ") + " FROM jobs"

// CreateJob stores a new job as version 1 and returns it so. It errs with ErrNotFound if there is no such
// tenant.
func (s *Store) CreateJob(ctx context.Context, by Author, j Job) (Job, error) {
	j.Version = 1
	err := s.Change(ctx, func(tx *sql.Tx) error {
		if held, err := hold(ctx, tx, j.Tenant); err != nil || !held {
			return cmp.Or(err, ErrNotFound)
		}
		values := jobValues(j)
		_, err := tx.ExecContext(ctx, "INSERT INTO jobs ("+strings.Join(jobColumns, ", ")+") VALUES ("+sqldb.Places(len(values))+")", values...)
		if err != nil {
			return err
		}
		_, is := changes(KindJob, nil, storedAs(jobColumns, values))
		_, err = note(ctx, tx, by, aboutJob(j), nil, is, AuditDone)
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

var listedJobs = listed[Job]{"jobs", jobColumns, scanJob}

// Jobs lists a tenant's jobs, as JobList has it.
func (s *Store) Jobs(ctx context.Context, tenant string, q lists.Query) ([]Job, lists.Found, error) {
	rows, found, err := page(ctx, s, listedJobs, scope{tenant: tenant}, q)
	if err != nil {
		return nil, lists.Found{}, fmt.Errorf("list jobs: %w", err)
	}
	return rows, found, nil
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

func aboutJob(j Job) Subject { return Subject{Kind: KindJob, ID: j.ID, Tenant: j.Tenant} }

// ChangeJob is UpdateJob for what a person asks for, e.g. that it ends.
func (s *Store) ChangeJob(ctx context.Context, by Author, j Job) (Job, error) {
	return s.updateJob(ctx, j, func(tx *sql.Tx, was, is Job) error {
		from, to := changes(KindJob, storedAs(jobColumns, jobValues(was)), storedAs(jobColumns, jobValues(is)))
		_, err := note(ctx, tx, by, aboutJob(is), from, to, AuditDone)
		return err
	})
}

// UpdateJob stores how far a job has come, which was read at j.Version, as the next version and returns it
// so. It errs with ErrConflict if the job has another version by now, with ErrNotFound if it is gone. What
// was asked for stays.
func (s *Store) UpdateJob(ctx context.Context, j Job) (Job, error) {
	return s.updateJob(ctx, j, func(*sql.Tx, Job, Job) error { return nil })
}

func (s *Store) updateJob(ctx context.Context, j Job, tell func(tx *sql.Tx, was, is Job) error) (Job, error) {
	before := j.Version
	j.Version++
	err := s.Change(ctx, func(tx *sql.Tx) error {
		was, err := sqldb.One(ctx, tx, scanJob, selectJobs+" WHERE tenant = $1 AND id = $2", j.Tenant, j.ID)
		if err != nil {
			return err
		}
		values := jobValues(j)[jobFixed:]
		n := len(values)
		done, err := affected(tx.ExecContext(ctx, "UPDATE jobs SET ("+strings.Join(jobColumns[jobFixed:], ", ")+") = ("+
			sqldb.Places(n)+") WHERE "+fmt.Sprintf("tenant = $%d AND id = $%d AND version = $%d", n+1, n+2, n+3),
			append(values, j.Tenant, j.ID, int64(before))...)) //nolint:gosec // grows by ones
		if err != nil {
			return err
		}
		if !done || was.Version != before {
			return ErrConflict
		}
		return tell(tx, was, j)
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
