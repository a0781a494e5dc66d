package kafka

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A broker that is away is named once in a while, not at each of the client's many tries; and so is what follows from it.
func TestABrokerAwayDoesNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &clientLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 3 * int(sayAgain/time.Second) {
			for _, addr := range []string{"a:1", "b:1"} {
				l.Log(kgo.LogLevelWarn, "unable to open connection to broker", "addr", addr, "err", "refused")
			}
			l.Log(kgo.LogLevelError, "something else", "partition", 7)
			wait(t.Context(), time.Second)
		}
		for what, want := range map[string]int{"addr=a:1": 3, "addr=b:1": 3, "something else": 3} {
			if n := strings.Count(out.String(), what); n != want {
				t.Errorf("%s is logged %d times, want %d", what, n, want)
			}
		}
	})
}
