package obs_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/obs"
)

func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var s obs.Seldom
		for range 600 { // a minute
			s.Warn(t.Context(), log, "the log is away", "error", "refused")
			time.Sleep(100 * time.Millisecond) // of the bubble's own clock
		}
		s.Error(t.Context(), log, "another thing")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d lines in a minute, want 2 and 1 of another thing:\n%s", len(lines), out.String())
		}
		for i, want := range []string{"level=WARN msg=\"the log is away\" error=refused", "before=299", "level=ERROR msg=\"another thing\""} {
			if !strings.Contains(lines[i], want) {
				t.Errorf("line %d is %q, want %s in it", i, lines[i], want)
			}
		}
		if strings.Contains(lines[0], "before") {
			t.Errorf("the first line speaks of others: %s", lines[0])
		}
	})
}

func TestSeldomTellsAllAtDebug(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var s obs.Seldom
	for range 3 {
		s.Warn(t.Context(), log, "again")
	}
	if n := strings.Count(out.String(), "level=DEBUG msg=again"); n != 2 {
		t.Errorf("%d of 2 told at debug:\n%s", n, out.String())
	}
}
