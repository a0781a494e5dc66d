package testkit

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
)

// logKept is how much of a log is shown, its end.
const logKept = 256 << 10

// Log is a log of everything, which the test shows if it fails.
func Log(t testing.TB) *slog.Logger {
	t.Helper()
	k := &keptLog{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", k.end())
		}
	})
	return slog.New(slog.NewTextHandler(k, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// keptLog keeps the end of what is written.
type keptLog struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (k *keptLog) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lines.Len() > 2*logKept {
		k.lines.Next(k.lines.Len() - logKept)
	}
	return k.lines.Write(line)
}

func (k *keptLog) end() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.lines.Bytes()
	return bytes.Clone(all[max(0, len(all)-logKept):])
}
