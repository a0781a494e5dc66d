package console

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A log that does not answer is blamed alone only if it had its time: a database that was slow before it may have taken that.
func TestTheLogIsBlamedForItsOwnTimeOnly(t *testing.T) {
	t.Parallel()
	s := &Service{log: slog.New(slog.DiscardHandler)}
	synctest.Test(t, func(t *testing.T) {
		for before, want := range map[bool]string{
			false: "the log cannot be reached; try again",
			true:  "the database and the log did not both answer in time; try again",
		} {
			ctx, cancel := context.WithTimeout(t.Context(), workTime)
			defer cancel()
			if before {
				time.Sleep(workTime - logTime + 1) // the database's, in virtual time
			}
			within, done := context.WithTimeout(ctx, logTime)
			defer done()
			<-within.Done()
			if got := s.logAway(ctx, "a job is not begun", errors.New("no answer")); got.Status != 503 || got.Detail != want {
				t.Errorf("after a slow database %t: %d %s", before, got.Status, got.Detail)
			}
		}
	})
}
