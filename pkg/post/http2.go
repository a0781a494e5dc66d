package post

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// over2 sends a request over HTTP/2 and reads the answer.
func (c *Client) over2(ctx context.Context, a *attempt, out *delivery.Outcome) error {
	l := a.link
	defer c.pool.release(l)
	l.conn.begin()
	defer l.conn.end()
	ctx, cancel := context.WithDeadline(ctx, a.end)
	defer cancel()
	begun := time.Now()
	var wrote atomic.Int64 // nanoseconds since begun; 0: not
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { wrote.Store(int64(time.Since(begun))) },
	})
	resp, err := l.http2.RoundTrip(requestOver2(a.target, a.fields, a.body).WithContext(ctx))
	if err != nil {
		a.unsent = tookNone(err)
		return l.conn.cause(err)
	}
	// An answer may come before the request is completely written.
	if wrote := wrote.Load(); wrote > 0 {
		a.firstByte = max(time.Since(begun)-time.Duration(wrote), 0)
	}
	if resp.Body != http.NoBody {
		defer context.AfterFunc(ctx, l.conn.unblock)() // which it does not by itself
	}
	defer resp.Body.Close() // before the end of the body it resets the stream
	_, err = c.read(resp, a.secrets, out)
	return l.conn.cause(err)
}
