package process

import (
	"context"
	"errors"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func TestGarbageIsBounded(t *testing.T) {
	for _, live := range []uint64{0, 1 << 20, 5 << 20, 10 << 20, 31 << 20, 32 << 20, 33 << 20, 1 << 30, 1 << 40} {
		percent := gcPercent(live)
		if percent < 100 {
			t.Errorf("%d bytes live: GOGC %d, below Go's default", live, percent)
		}
		if gathers := live * uint64(percent) / 100; gathers > max(live, garbage) {
			t.Errorf("%d bytes live: GOGC %d lets %d bytes gather", live, percent, gathers)
		}
	}
}

func gogc() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestTuneGC(t *testing.T) {
	t.Setenv("GOGC", "")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		TuneGC(ctx)
	}()
	testkit.Eventually(t, 10*time.Second, func() error {
		if gogc() == 100 {
			return errors.New("GOGC stays at 100 with a small heap")
		}
		return nil
	})
	cancel()
	<-ended
	if got := gogc(); got != 100 {
		t.Errorf("GOGC %d afterwards, want 100", got)
	}
}

// What a user sets is left alone.
func TestTuneGCHeedsTheUser(t *testing.T) {
	t.Setenv("GOGC", "150")
	before := gogc()
	TuneGC(context.Background()) // returns at once
	if got := gogc(); got != before {
		t.Errorf("GOGC %d, want %d", got, before)
	}
}
