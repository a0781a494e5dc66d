package sqlstoretest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// NewSession is a session with every field set, an hour long.
func NewSession(of string, n byte) sqlstore.Session {
	return sqlstore.Session{
		ID: [32]byte{n, 1, 0, 255}, KeyHash: [32]byte{n, 0, 255}, Tenant: of, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}

func sessions(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	mine, platform := NewSession("acme", 1), NewSession("", 2)
	platform.ExpiresAt = now.Add(2 * time.Hour)
	for _, of := range []sqlstore.Session{mine, platform} {
		if err := s.CreateSession(ctx, of); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Session(ctx, of.ID, now); err != nil || !cmp.Equal(of, got) {
			t.Errorf("read back: %v (-want +got):\n%s", err, cmp.Diff(of, got))
		}
	}
	if s.CreateSession(ctx, mine) == nil {
		t.Error("a second session of one id was made")
	}
	there := func(name string, id [32]byte, at time.Time, want bool) {
		t.Helper()
		if _, err := s.Session(ctx, id, at); err != nil && !errors.Is(err, sqlstore.ErrNotFound) || (err == nil) != want {
			t.Errorf("%s: %v, want one: %t", name, err, want)
		}
	}
	there("of another id", [32]byte{}, now, false)
	there("a nanosecond before it expires", mine.ID, mine.ExpiresAt.Add(-1), true)
	there("when it expires", mine.ID, mine.ExpiresAt, false)
	if err := s.DeleteExpiredSessions(ctx, mine.ExpiresAt); err != nil {
		t.Fatal(err)
	}
	there("deleted when it expired", mine.ID, now, false)
	there("kept until then", platform.ID, now, true)
	for range 2 { // again: it has ended
		if err := s.DeleteSession(ctx, platform.ID); err != nil {
			t.Fatal(err)
		}
	}
	there("after its end", platform.ID, now, false)
	if got, _ := changes(t, s); len(got) != 0 {
		t.Errorf("the outbox holds %v: nobody is told of sessions", got)
	}
}

func sessionsEndWithTheirKey(t *testing.T, s *sqlstore.Store) {
	ctx := context.Background()
	k, err := s.CreateAPIKey(ctx, By(), Key("acme", 1)) // has the hash of NewSession 1
	if err != nil {
		t.Fatal(err)
	}
	for n := range byte(3) {
		of := NewSession("acme", n)
		if n == 0 { // a second one of that key
			of.KeyHash = k.Hash
		}
		if err := s.CreateSession(ctx, of); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (n int) {
		for id := range byte(3) {
			if _, err := s.Session(ctx, NewSession("acme", id).ID, now); err == nil {
				n++
			}
		}
		return n
	}
	if err := s.DeleteAPIKey(ctx, By(), "other", k.ID, 0); !errors.Is(err, sqlstore.ErrNotFound) || left() != 3 {
		t.Errorf("another tenant deletes the key: %v, %d sessions are left, want 3", err, left())
	}
	if err := s.DeleteAPIKey(ctx, By(), "acme", k.ID, 0); err != nil || left() != 1 {
		t.Errorf("the key is deleted: %v, %d sessions are left, want 1", err, left())
	}
}
