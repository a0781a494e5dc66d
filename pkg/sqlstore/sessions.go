package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Session says that a browser has signed in with an API key.
type Session struct {
	ID        [32]byte // SHA-256 of the token that the browser holds
	KeyHash   [32]byte // of the API key that signed in; the session ends when the key is deleted
	Tenant    string   // that the session acts for; a platform key names one when it signs in
	CreatedAt time.Time
	ExpiresAt time.Time
}

var sessionColumns = []string{"id", "key_hash", "tenant", "created_at", "expires_at"}

func scanSession(row sqldb.Scanner) (Session, error) {
	var (
		s       Session
		id, key []byte
	)
	err := row.Scan(&id, &key, &s.Tenant, sqldb.Stamp{T: &s.CreatedAt}, sqldb.Stamp{T: &s.ExpiresAt})
	if err == nil && (len(id) != len(s.ID) || len(key) != len(s.KeyHash)) {
		err = fmt.Errorf("hashes of %d and %d bytes", len(id), len(key))
	}
	if err != nil {
		return Session{}, err
	}
	copy(s.ID[:], id)
	copy(s.KeyHash[:], key)
	return s, nil
}

// CreateSession stores a new session.
func (s *Store) CreateSession(ctx context.Context, of Session) error {
	_, err := s.Write.ExecContext(ctx, "INSERT INTO sessions ("+strings.Join(sessionColumns, ", ")+") VALUES ("+
		sqldb.Places(len(sessionColumns))+")", of.ID[:], of.KeyHash[:], of.Tenant, sqldb.Nanos(of.CreatedAt), sqldb.Nanos(of.ExpiresAt))
	if err != nil {
		return fmt.Errorf("create session: %w", err)
	}
	return nil
}

var sessionQuery = "SELECT " + strings.Join(sessionColumns, ", ") + " FROM sessions WHERE id = $1 AND expires_at > $2"

// Session is the session of that id at now. It errs with ErrNotFound, also when it has expired.
func (s *Store) Session(ctx context.Context, id [32]byte, now time.Time) (Session, error) {
	of, err := sqldb.One(ctx, s.Read, scanSession, sessionQuery, id[:], sqldb.Nanos(now))
	if err != nil {
		return Session{}, fmt.Errorf("session: %w", err)
	}
	return of, nil
}

// DeleteSession ends a session. One that is not there has ended.
func (s *Store) DeleteSession(ctx context.Context, id [32]byte) error {
	if _, err := s.Write.ExecContext(ctx, "DELETE FROM sessions WHERE id = $1", id[:]); err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	return nil
}

const (
	deleteSessionsOfKey   = "DELETE FROM sessions WHERE key_hash IN (SELECT hash FROM api_keys WHERE tenant = $1 AND id = $2)"
	deleteExpiredSessions = "DELETE FROM sessions WHERE expires_at <= $1"
)

// DeleteExpiredSessions removes the sessions that have expired by now.
func (s *Store) DeleteExpiredSessions(ctx context.Context, now time.Time) error {
	if _, err := s.Write.ExecContext(ctx, deleteExpiredSessions, sqldb.Nanos(now)); err != nil {
		return fmt.Errorf("delete expired sessions: %w", err)
	}
	return nil
}
