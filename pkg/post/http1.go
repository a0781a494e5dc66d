package post

import (
	"context"
	"net/http"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// oneWriteBytes is the length of a request, in bytes, up to which it is written at once, before the answer is waited
// for: a socket takes as much without waiting. Longer ones are written while the answer is waited for, which a
// receiver may send before it has read them.
const oneWriteBytes = 8 << 10

// lastBytes is how long a request may still be written when its answer is there: a connection whose receiver
// reads on can be used again.
const lastBytes = 50 * time.Millisecond

// over1 sends a request over HTTP/1.1 and reads the answer.
func (c *Client) over1(ctx context.Context, a *attempt, out *delivery.Outcome) error {
	l := a.link
	_ = l.conn.SetDeadline(a.end) // of a closed connection what follows says more
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	}
	l.conn.sent.Store(false)
	w := c.write(a)
	var err error
	reusable := false
	if w.over && w.err != nil && a.reused && !l.conn.sent.Load() {
		err, a.unsent = w.err, true
	} else { // also when it could not be written: the receiver may have said why
		reusable, err = c.answer1(a, w, out)
	}
	if reusable = w.end(l, reusable) && reusable; stop() && reusable {
		c.pool.release(l)
	} else {
		c.pool.drop(l)
	}
	return err
}

// writing is the writing of a request.
type writing struct {
	over bool
	at   time.Time // when it was over
	err  error
	done chan struct{} // nil: it was over at once
}

func (c *Client) write(a *attempt) *writing {
	l, w := a.link, &writing{}
	buffer := c.requests.Get().(*[]byte)
	head := appendHead((*buffer)[:0], a.target, a.fields, len(a.body))
	*buffer = head[:0]
	if len(head)+len(a.body) <= oneWriteBytes {
		all := append(head, a.body...) //nolint:gocritic // within the buffer, if it has room
		*buffer = all[:0]
		_, w.err = l.wire.Write(all)
		w.over, w.at = true, time.Now()
		c.requests.Put(buffer)
		return w
	}
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		if _, w.err = l.wire.Write(head); w.err == nil {
			_, w.err = l.wire.Write(a.body)
		}
		w.at = time.Now()
		c.requests.Put(buffer)
	}()
	return w
}

// end waits for the end of the writing, which it brings about, and reports whether all was written.
func (w *writing) end(l *link, reusable bool) bool {
	if w.done == nil {
		return w.err == nil
	}
	if reusable {
		_ = l.conn.SetWriteDeadline(time.Now().Add(lastBytes))
	} else {
		l.cut()
	}
	<-w.done
	return w.err == nil
}

// since is the time from the request written to then; 0 if it was not.
func (w *writing) since(then time.Time) time.Duration {
	if w.done != nil {
		select {
		case <-w.done:
		default:
			return 0 // an answer may come before the request is completely written
		}
	}
	return max(then.Sub(w.at), 0)
}

// answer1 reads the answer, and reports whether the connection can be used again.
func (c *Client) answer1(a *attempt, w *writing, out *delivery.Outcome) (reusable bool, err error) {
	l := a.link
	l.limit.left = MaxHeaderBytes
	if _, err := l.reader.Peek(1); err != nil {
		return false, err
	}
	a.firstByte = w.since(time.Now())
	resp, err := l.head(a.target.request) //nolint:bodyclose // to close it would be to read it; what is left ends with the connection
	if err != nil && l.limit.left <= 0 {
		err = errHeadTooLarge // of which net/http makes what it was about to read
	}
	if err != nil {
		return false, err
	}
	l.limit.unlimited()
	closes := resp.Close || resp.StatusCode < 200
	whole, err := c.read(resp, a.secrets, out)
	return whole && !closes, err
}

// head reads the head of an answer, and those that announce one (1xx).
func (l *link) head(req *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(l.reader, req)
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode < 100 {
			return resp, err
		}
	}
}
