package console

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	linesType = "application/x-ndjson"
	// lineTimeout is how long a client may take to make room for what is written; it is cut then.
	lineTimeout = 10 * time.Second
	// maxLines are written at once, at most.
	maxLines = 500
)

// lines is an answer of one JSON value a line, which goes on as long as its client reads. Nothing is kept for
// a client that reads slowly: what its connection does not take in time ends it.
type lines struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	last time.Time // something was written
}

// stream answers with lines that f writes until its context ends, which it does when the client goes and when
// the console stops. An error of f before the first line becomes a problem; one after it is f's to tell.
func (s *Service) stream(f func(ctx context.Context, out *lines) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		ctx, cancel := context.WithCancel(hc.Context())
		defer cancel()
		go func() {
			defer cancel()
			select {
			case <-s.stopping:
			case <-ctx.Done():
			}
		}()
		out := &lines{w: w, rc: http.NewResponseController(w)}
		// The server's limits are for requests that end. The read deadline would end this one's context.
		_ = out.rc.SetReadDeadline(time.Time{})
		if err := f(ctx, out); err != nil && out.last.IsZero() {
			writeProblem(w, r, s.problemOf(ctx, err))
		}
	}}
}

// write writes values and sees that they are under way. None is a blank line, which keeps proxies from
// closing a connection that is quiet. It errs if the client is gone or too slow.
func (l *lines) write(values ...any) error {
	var b bytes.Buffer
	if len(values) == 0 {
		b.WriteByte('\n')
	}
	to := json.NewEncoder(&b)
	to.SetEscapeHTML(false)
	for _, v := range values {
		if err := to.Encode(v); err != nil {
			return err
		}
	}
	if l.last.IsZero() {
		l.w.Header().Set("Content-Type", linesType)
		l.w.Header().Set("Cache-Control", "no-store")
		l.w.Header().Set("X-Accel-Buffering", "no") // nginx would hold lines back
	}
	l.last = time.Now()
	if err := l.rc.SetWriteDeadline(l.last.Add(lineTimeout)); err != nil {
		return err
	}
	if _, err := l.w.Write(b.Bytes()); err != nil {
		return err
	}
	return l.rc.Flush()
}
