package kafka

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever asks a broker that says nothing is let go when its context ends.
func TestHeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		n, err := heed(ctx, func(context.Context) (int, error) {
			<-hang
			return 7, nil
		})
		if n != 0 || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%d, %v after %s, want the end of the context after 1s", n, err, time.Since(began))
		}
		close(hang)
		refused := errors.New("refused")
		if n, err := heed(t.Context(), func(context.Context) (int, error) { return 7, refused }); n != 7 || !errors.Is(err, refused) {
			t.Errorf("%d, %v, want what was answered", n, err)
		}
	})
}
