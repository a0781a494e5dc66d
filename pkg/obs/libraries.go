package obs

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"strings"
)

// Libraries sends what libraries write to Go's standard logger to l, at level debug: a program calls it once, at its
// start, so that its log is whole lines of JSON and holds nothing that others wrote.
func Libraries(l *slog.Logger) {
	log.SetFlags(0)
	log.SetOutput(libraryWriter(l))
}

func libraryWriter(l *slog.Logger) io.Writer { return libraries{l} }

type libraries struct{ log *slog.Logger }

// Write logs one line.
func (w libraries) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(bytes.TrimSpace(line)), "\n")
	// net/http quotes up to 4 KiB of what a receiver sent without being asked, which may be what it was sent.
	text, _, _ = strings.Cut(text, " starting with ")
	w.log.Log(context.Background(), slog.LevelDebug, "a library says", "text", text)
	return len(line), nil
}
