package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// AuthorKind is how somebody came to change something.
type AuthorKind string

// The kinds of authors.
const (
	ByAPIKey  AuthorKind = "api_key" // a program, with an API key
	BySession AuthorKind = "session" // a person in the web console, who has signed in with an API key
	BySystem  AuthorKind = "system"  // Doorstep itself, e.g. at its first start
)

// Author is who makes a change, and in which request. Whatever changes something takes one and writes the entry of
// the audit log into the change's own transaction: there is no way to change it without. The zero Author is nobody,
// and refused.
type Author struct {
	Kind      AuthorKind
	KeyID     string // of the API key; empty: BySystem
	KeyName   string
	Platform  bool      // the key is the platform's
	Action    string    // what was asked for, e.g. patch-webhook
	RequestID string    // empty: BySystem
	At        time.Time // when it was asked for
	// Once is completed with the change, in its transaction; nil: the request has no Idempotency-Key.
	Once *Completion
}

var errNoAuthor = errors.New("a change without an author")

func (a Author) check() error {
	if a.Kind == "" || a.Action == "" || a.At.IsZero() {
		return errNoAuthor
	}
	return nil
}

// AuditResult is what came of what was asked for.
type AuditResult string

// The results. What is written into a log, not to SQL, is noted as begun before, and what came of it after: an entry
// that stays begun is of a process that died between.
const (
	AuditDone   AuditResult = "done"
	AuditBegun  AuditResult = "begun"
	AuditFailed AuditResult = "failed"
)

// Subject is what a change is about.
type Subject struct {
	Kind   Kind
	ID     string
	Tenant string // whose it is; empty: the platform's
	// OfPlatform says that the entry goes into the platform's audit log, although it is about a tenant.
	OfPlatform bool
}

// AuditEntry is one change. Before and After are JSON objects of the fields that changed, without secrets: *** stands
// for what is not told, also where it changed. Before is null for what was made, After for what was removed.
type AuditEntry struct {
	ID        string // UUIDv7
	CreatedAt time.Time
	Author    Author // its time is CreatedAt
	Subject   Subject
	Before    json.RawMessage
	After     json.RawMessage
	Result    AuditResult
	Detail    string // of one that failed: why
}

var auditColumns = []string{
	"id", "tenant", "created_at", "author", "key_id", "key_name", "platform", "action", "kind", "subject_id",
	"before", "after", "result", "detail", "request_id", "log",
}

func scanAudit(row sqldb.Scanner) (AuditEntry, error) {
	var (
		e   AuditEntry
		log string
	)
	err := row.Scan(&e.ID, &e.Subject.Tenant, sqldb.Stamp{T: &e.CreatedAt}, &e.Author.Kind, &e.Author.KeyID, &e.Author.KeyName,
		&e.Author.Platform, &e.Author.Action, &e.Subject.Kind, &e.Subject.ID, sqldb.Document{To: &e.Before}, sqldb.Document{To: &e.After},
		&e.Result, &e.Detail, &e.Author.RequestID, &log)
	e.Author.At, e.Subject.OfPlatform = e.CreatedAt, log == "" && e.Subject.Tenant != ""
	return e, err
}

// note writes the entry of a change into its transaction, completes the author's request in it, and returns the entry's
// id. It errs with ErrTakenOver.
func note(ctx context.Context, tx *sql.Tx, by Author, of Subject, before, after json.RawMessage, result AuditResult) (string, error) {
	id := uuid.Must(uuid.NewV7()).String()
	return id, noteAll(ctx, tx, by, result, [][]any{auditValues(id, by, of, before, after, result)})
}

// noteAll is note of several changes, whose values auditValues made.
func noteAll(ctx context.Context, tx *sql.Tx, by Author, result AuditResult, entries [][]any) error {
	if err := by.check(); err != nil {
		return err
	}
	if err := by.Once.complete(ctx, tx, result == AuditDone); err != nil {
		return err
	}
	return insertRows(ctx, tx, "audit_log", auditColumns, "", entries)
}

// auditValues are those of auditColumns.
func auditValues(id string, by Author, of Subject, before, after json.RawMessage, result AuditResult) []any {
	log := of.Tenant
	if of.OfPlatform {
		log = ""
	}
	return []any{
		id, of.Tenant, sqldb.Nanos(by.At), string(by.Kind), by.KeyID, by.KeyName, by.Platform, by.Action,
		string(of.Kind), of.ID, orNull(before), orNull(after), string(result), "", by.RequestID, log,
	}
}

func orNull(document json.RawMessage) string {
	if document == nil {
		return "null"
	}
	return string(document)
}

// Note writes an entry of what is about to be written elsewhere than to SQL, with what will be there as a JSON object
// without secrets, and returns its id for Noted.
func (s *Store) Note(ctx context.Context, by Author, of Subject, after json.RawMessage) (id string, err error) {
	err = s.Change(ctx, func(tx *sql.Tx) error {
		id, err = note(ctx, tx, by, of, nil, after, AuditBegun)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("note %s of %s %s: %w", by.Action, of.Kind, of.ID, err)
	}
	return id, nil
}

// Noted completes an entry of Note: failed says why it came to nothing, or may have; nil is done.
func (s *Store) Noted(ctx context.Context, by Author, id string, failed error) error {
	result, detail := AuditDone, ""
	if failed != nil {
		result, detail = AuditFailed, failed.Error()
	}
	err := s.Change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE audit_log SET result = $1, detail = $2 WHERE id = $3", string(result), detail, id); err != nil {
			return err
		}
		return by.Once.complete(ctx, tx, failed == nil)
	})
	if err != nil {
		return fmt.Errorf("complete audit entry %s: %w", id, err)
	}
	return nil
}

// auditTrim is how many old entries are removed in one transaction.
const auditTrim = 1000

const trimAudit = "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE created_at < $1 ORDER BY created_at LIMIT $2)"

// TrimAuditLog removes the entries that were made before that time.
func (s *Store) TrimAuditLog(ctx context.Context, before time.Time) error {
	for {
		res, err := s.Write.ExecContext(ctx, trimAudit, sqldb.Nanos(before), auditTrim)
		if err != nil {
			return fmt.Errorf("trim the audit log: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n < auditTrim {
			return err
		}
	}
}

// bequeath gives the audit log of a tenant that is deleted to the platform: another that gets its id later has nothing
// to do with it.
func bequeath(ctx context.Context, tx *sql.Tx, of string) error {
	_, err := tx.ExecContext(ctx, bequeathAudit, of)
	return err
}

const bequeathAudit = "UPDATE audit_log SET log = '' WHERE log = $1"

var listedAudit = listed[AuditEntry]{"audit_log", auditColumns, scanAudit}

// AuditLog lists a tenant's audit log, the platform's for an empty tenant, as AuditList has it.
func (s *Store) AuditLog(ctx context.Context, of string, q lists.Query) ([]AuditEntry, lists.Found, error) {
	rows, found, err := page(ctx, s, listedAudit, scope{tenant: of, column: "log"}, q)
	if err != nil {
		return nil, lists.Found{}, fmt.Errorf("list the audit log: %w", err)
	}
	return rows, found, nil
}
