package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Once is a request that is carried out once, however often it is made: who asked for what under which key of its own.
type Once struct {
	Tenant      string
	APIKeyID    string
	Route       string
	Key         string   // the hash of the caller's key
	Fingerprint [32]byte // of all that the request says
}

// ClaimState is what became of a claim to carry a request out.
type ClaimState int

// The states.
const (
	ClaimMine    ClaimState = iota + 1 // carry it out
	ClaimDone                          // it was carried out; Answer is what was answered
	ClaimRunning                       // another holder is at it
	ClaimOther                         // the key was used for another request
)

// Claim is the right to carry a request out, until HeldUntil.
//
// A claim is a row. It is made in a transaction of its own, and marked done, with the answer, in the very transaction that
// makes what was asked for (Author.Once): wherever a process is killed, either both are there or neither. A row that is not
// done when its time is over belongs to a process that died, or to one that is so slow that it is given up; whoever asks
// next takes it over by changing the holder. The former holder's transaction then finds that it is not the holder any
// more, and rolls back: it locks the same row, so one of the two comes first.
//
// What is written to the log, not to SQL, cannot be in one transaction with it. There the answer is promised first,
// with all ids that will be in the log (Store.Note), then it is written, then the row is done. Whoever takes over finds
// the promise, and writes the same ids again unless they are there: at least once, but never as two things.
type Claim struct {
	Once
	State  ClaimState
	Holder string
	Answer string // of ClaimDone; of ClaimMine what a former holder has promised, else empty
}

// ErrTakenOver says that another request carries out what this one had claimed. Nothing was changed.
var ErrTakenOver = errors.New("taken over by another request")

// Completion is a claim and the answer that its request gets once the change is made.
type Completion struct {
	Claim  Claim
	Answer string // without what is secret
}

const ofOnce = " WHERE tenant = $1 AND api_key_id = $2 AND route = $3 AND key = $4"

func (o Once) place(more ...any) []any {
	return append([]any{o.Tenant, o.APIKeyID, o.Route, o.Key}, more...)
}

// Claim claims a request for holder, who is one of a kind, until heldUntil. What is known of it is forgotten at
// expiresAt.
func (s *Store) Claim(ctx context.Context, o Once, holder string, now, heldUntil, expiresAt time.Time) (Claim, error) {
	c := Claim{Once: o, Holder: holder, State: ClaimMine}
	err := s.Change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM idempotency_keys"+ofOnce+" AND expires_at <= $5", o.place(sqldb.Nanos(now))...); err != nil {
			return err
		}
		made, err := affected(tx.ExecContext(ctx, "INSERT INTO idempotency_keys (tenant, api_key_id, route, key, fingerprint, holder, held_until, done, answer, expires_at) "+
			"VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE, '', $8) ON CONFLICT DO NOTHING",
			o.place(o.Fingerprint[:], holder, sqldb.Nanos(heldUntil), sqldb.Nanos(expiresAt))...))
		if err != nil || made {
			return err
		}
		return c.again(ctx, tx, now, heldUntil)
	})
	if err != nil {
		return Claim{}, fmt.Errorf("claim a request: %w", err)
	}
	return c, nil
}

// again is a claim to what was claimed before.
func (c *Claim) again(ctx context.Context, tx *sql.Tx, now, heldUntil time.Time) error {
	var (
		fingerprint []byte
		holder      string
		until       int64
		done        bool
	)
	err := tx.QueryRowContext(ctx, "SELECT fingerprint, holder, held_until, done, answer FROM idempotency_keys"+ofOnce, c.place()...).
		Scan(&fingerprint, &holder, &until, &done, &c.Answer)
	switch {
	case errors.Is(err, sql.ErrNoRows): // given up at this moment
		c.State = ClaimRunning
		return nil
	case err != nil:
		return err
	case string(fingerprint) != string(c.Fingerprint[:]):
		c.State = ClaimOther
	case done:
		c.State = ClaimDone
	case until > sqldb.Nanos(now):
		c.State = ClaimRunning
	default:
		taken, err := affected(tx.ExecContext(ctx, "UPDATE idempotency_keys SET holder = $5, held_until = $6"+ofOnce+" AND holder = $7 AND NOT done",
			c.place(c.Holder, sqldb.Nanos(heldUntil), holder)...))
		if err != nil || taken {
			return err
		}
		c.State = ClaimRunning
	}
	if c.State != ClaimDone {
		c.Answer = ""
	}
	return nil
}

// complete writes into a transaction that a claim is done, or promised, with its answer. It errs with ErrTakenOver.
func (c *Completion) complete(ctx context.Context, tx *sql.Tx, done bool) error {
	if c == nil {
		return nil
	}
	held, err := affected(tx.ExecContext(ctx, "UPDATE idempotency_keys SET done = $5, answer = $6"+ofOnce+" AND holder = $7",
		c.Claim.place(done, c.Answer, c.Claim.Holder)...))
	if err == nil && !held {
		err = ErrTakenOver
	}
	return err
}

// Complete marks a claim as done whose request has changed nothing, or whose answer was not known when it did.
func (s *Store) Complete(ctx context.Context, c Completion) error {
	err := s.Change(ctx, func(tx *sql.Tx) error { return c.complete(ctx, tx, true) })
	if err != nil {
		return fmt.Errorf("complete a request: %w", err)
	}
	return nil
}

// GiveUp ends a claim whose request was not carried out: the same request may be made again at once. Of one that was
// promised what was promised stays. One that is done stays done.
func (s *Store) GiveUp(ctx context.Context, c Claim) error {
	err := s.Change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM idempotency_keys"+ofOnce+" AND holder = $5 AND NOT done AND answer = ''", c.place(c.Holder)...); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE idempotency_keys SET held_until = 0"+ofOnce+" AND holder = $5 AND NOT done", c.place(c.Holder)...)
		return err
	})
	if err != nil {
		return fmt.Errorf("give up a request: %w", err)
	}
	return nil
}

const deleteExpiredOnce = "DELETE FROM idempotency_keys WHERE expires_at <= $1"

// DeleteExpiredOnce forgets the requests whose time is over.
func (s *Store) DeleteExpiredOnce(ctx context.Context, now time.Time) error {
	if _, err := s.Write.ExecContext(ctx, deleteExpiredOnce, sqldb.Nanos(now)); err != nil {
		return fmt.Errorf("delete expired idempotency keys: %w", err)
	}
	return nil
}
