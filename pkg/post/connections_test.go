package post_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
)

// tally counts requests by their webhook-id.
type tally struct {
	mu    sync.Mutex
	seen  map[string]int
	total int
}

// add returns the number of requests so far.
func (c *tally) add(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[id]++
	c.total++
	return c.total
}

func (c *tally) of(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[id]
}

// storm makes so many attempts by so many callers, each with an id of its own and every other with a
// header by which net/http would send it again, and gives each outcome to check.
func storm(t *testing.T, client *post.Client, url string, callers, attempts int, check func(id string, out delivery.Outcome)) {
	t.Helper()
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := range attempts {
				id := fmt.Sprintf("%d-%d", caller, n)
				header := []delivery.Header{{Name: "webhook-id", Value: id}}
				if n%2 == 0 {
					header = append(header, delivery.Header{Name: "Idempotency-Key", Value: id}, delivery.Header{Name: "X-Idempotency-Key", Value: id})
				}
				check(id, client.Post(context.Background(), post.Request{URL: url, Header: header, Body: []byte(`{"n":1}`), Timeout: patience}))
			}
		})
	}
	wg.Wait()
}

// Under load, connections are closed after every so many answers, politely and not, and at any moment:
// a request is sent once, whatever comes of it.
func TestClosedUnderLoad(t *testing.T) {
	const answer = "HTTP/1.1 204 No Content\r\n\r\n"
	for name, last := range map[string]struct {
		answer string // of the last request on a connection; empty: none
		before bool   // close as soon as the request's first byte is there
	}{
		"Connection: close":                {answer: strings.Replace(answer, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)},
		"closed without a word":            {answer: answer},
		"closed instead of an answer":      {},
		"closed in the answer":             {answer: answer[:20]},
		"closed while the request comes":   {before: true},
		"more than asked for, then closed": {answer: answer + answer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var received tally
			address := hostile.Listen(t, nil, func(c *net.TCPConn) {
				r := bufio.NewReader(c)
				for left := rand.IntN(5); ; left-- {
					if _, err := r.Peek(1); err != nil || left == 0 && last.before {
						return
					}
					request, err := hostile.Request(r)
					if err != nil {
						return
					}
					received.add(request.Header.Get("Webhook-Id"))
					if left <= 0 {
						_, _ = io.WriteString(c, last.answer)
						return
					}
					_, _ = io.WriteString(c, answer)
				}
			})
			failed := 0
			var mu sync.Mutex
			storm(t, newClient(t), "http://"+address, 64, 20, func(id string, out delivery.Outcome) {
				n := received.of(id)
				if n > 1 || out.OK() && n != 1 || !out.OK() && out.ErrorCode != post.CodeReset {
					t.Errorf("%s: received %d times, outcome %q (%s)", id, n, out.ErrorCode, out.Error)
				}
				mu.Lock()
				defer mu.Unlock()
				if !out.OK() {
					failed++
				}
			})
			t.Logf("%d of %d failed", failed, 64*20)
			if failed > 0 && strings.HasPrefix(name, "Connection") {
				t.Errorf("%d attempts failed though the receiver said that it would close", failed)
			}
		})
	}
}

// What comes behind an answer is never taken for the next one's.
func TestAnswersKeepToTheirRequests(t *testing.T) {
	const fake = "HTTP/1.1 299 Never\r\nContent-Length: 0\r\n\r\n"
	for name, f := range map[string]func(c io.Writer, id string){
		"at once": func(c io.Writer, id string) {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: 0\r\n\r\n%s", id, fake)
		},
		"behind a body": func(c io.Writer, id string) {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: 2\r\n\r\nok%s", id, fake)
		},
		"behind chunks": func(c io.Writer, id string) {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n%s", id, fake)
		},
		"in a packet of its own": func(c io.Writer, id string) {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: 0\r\n\r\n", id)
			_, _ = io.WriteString(c, fake)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := hostile.Listen(t, nil, func(c *net.TCPConn) {
				for r := bufio.NewReader(c); ; {
					request, err := hostile.Request(r)
					if err != nil {
						return
					}
					f(c, request.Header.Get("Webhook-Id"))
				}
			})
			taken := 0
			var mu sync.Mutex
			storm(t, newClient(t), "http://"+address, 16, 100, func(id string, out delivery.Outcome) {
				mu.Lock()
				defer mu.Unlock()
				// In a packet of its own it may come when the next request is already on its way; then nobody can tell.
				if got := fmt.Sprint(out.ResponseHeaders); out.OK() && !strings.Contains(got, "{X-Id "+id+"}") {
					taken++
				}
			})
			if taken > 0 && name != "in a packet of its own" {
				t.Errorf("%d of 1600 attempts took another answer for theirs", taken)
			}
			t.Logf("%d taken", taken)
		})
	}
}

// Over HTTP/2 a request is sent again only if the receiver says that it did not look at it, and then
// at most twice.
func TestRequestsOverHTTP2(t *testing.T) {
	authority := hostile.NewAuthority(t)
	before := func(w *http2.Framer, stream uint32) error { return w.WriteGoAway(stream-1, http2.ErrCodeNo, nil) }
	resets := func(code http2.ErrCode) func(w *http2.Framer, stream uint32) error {
		return func(w *http2.Framer, stream uint32) error { return w.WriteRSTStream(stream, code) }
	}
	for name, tt := range map[string]struct {
		answer func(w *http2.Framer, stream uint32) error
		want   int
	}{
		"refused":              {resets(http2.ErrCodeRefusedStream), 3},
		"GOAWAY before it":     {before, 3},
		"GOAWAY with an error": {func(w *http2.Framer, stream uint32) error { return w.WriteGoAway(stream-1, http2.ErrCodeInternal, nil) }, 3},
		"GOAWAY behind it": {func(w *http2.Framer, stream uint32) error {
			_ = w.WriteGoAway(stream, http2.ErrCodeNo, nil)
			return io.EOF
		}, 1},
		"PROTOCOL_ERROR":        {resets(http2.ErrCodeProtocol), 1},
		"INTERNAL_ERROR":        {resets(http2.ErrCodeInternal), 1},
		"CANCEL":                {resets(http2.ErrCodeCancel), 1},
		"ENHANCE_YOUR_CALM":     {resets(http2.ErrCodeEnhanceYourCalm), 1},
		"the connection closed": {func(*http2.Framer, uint32) error { return io.EOF }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var received tally
			url := authority.HTTP2(t, func(p *hostile.Peer, stream uint32, id string) error {
				received.add(id)
				return p.Write(func(w *http2.Framer) error { return tt.answer(w, stream) })
			})
			client := newClient(t, func(c *post.Config) { c.RootCAs = authority.Pool() })
			storm(t, client, url, 1, 6, func(id string, out delivery.Outcome) {
				if n := received.of(id); out.ErrorCode != post.CodeReset || n > tt.want {
					t.Errorf("%s: received %d times, at most %d wanted; outcome %q (%s)", id, n, tt.want, out.ErrorCode, out.Error)
				}
			})
		})
	}
}

// A receiver that says GOAWAY every now and then, as servers do that restart or count their requests,
// gets each delivery once, and all.
func TestGoAwayUnderLoad(t *testing.T) {
	authority := hostile.NewAuthority(t)
	var looked tally // those that the receiver did look at
	url := authority.HTTP2(t, func(p *hostile.Peer, stream uint32, id string) error {
		const last = 41 // of a connection
		if stream > last {
			return nil
		}
		if stream == last {
			if err := p.Write(func(w *http2.Framer) error { return w.WriteGoAway(last, http2.ErrCodeNo, nil) }); err != nil {
				return err
			}
		}
		looked.add(id)
		return p.Head(stream, true, ":status", "204")
	})
	client := newClient(t, func(c *post.Config) { c.RootCAs = authority.Pool() })
	failed := 0
	var mu sync.Mutex
	storm(t, client, url, 16, 40, func(id string, out delivery.Outcome) {
		n := looked.of(id)
		if n > 1 || out.OK() != (n == 1) {
			t.Errorf("%s: looked at %d times, outcome %q (%s)", id, n, out.ErrorCode, out.Error)
		}
		mu.Lock()
		defer mu.Unlock()
		if !out.OK() {
			failed++
		}
	})
	if failed > 16*40/20 { // who is turned away three times in a row
		t.Errorf("%d of %d failed", failed, 16*40)
	}
}

// An attempt opens a bounded number of connections, whatever the receiver does with them.
func TestConnectionsOfAnAttempt(t *testing.T) {
	authority := hostile.NewAuthority(t)
	for _, name := range []string{
		"HTTP/2: goes away from all", "HTTP/2: goes away from the request", "HTTP/2: allows no streams", "HTTP/2: resets, REFUSED_STREAM", "HTTP/2: closes", "closes at once",
	} {
		kind := hostile.Named(t, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := authority.Start(t, kind)
			client := newClient(t, func(c *post.Config) { c.RootCAs = authority.Pool() })
			out := attempt(t, client, post.Request{URL: server.URL, Timeout: 4 * totalTimeout})
			wantCode(t, out, kind.Code)
			if n := server.Connections(); n == 0 || n > 50 {
				t.Errorf("one attempt opened %d connections", n)
			} else {
				t.Logf("%d connections, %s", n, out.Error)
			}
		})
	}
}

// A stream that stalls holds up no other on its connection.
func TestStalledStream(t *testing.T) {
	server, roots := tlsServer(t, true)
	client := newClient(t, func(c *post.Config) { c.RootCAs = roots })
	wantCode(t, attempt(t, client, post.Request{URL: server.URL}), "") // there is a connection now
	stalled := make(chan delivery.Outcome, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { stalled <- client.Post(ctx, post.Request{URL: server.URL + "/hang", Timeout: patience}) }()
	for range 50 {
		out := attempt(t, client, post.Request{URL: server.URL})
		wantCode(t, out, "")
		if !out.Phases.Reused {
			t.Fatal("it took another connection")
		}
	}
	select {
	case out := <-stalled:
		t.Errorf("it did not stall: %q (%s)", out.ErrorCode, out.Error)
	default:
	}
	cancel()
	wantCode(t, <-stalled, post.CodeCancelled)
}
