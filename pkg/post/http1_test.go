package post_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
)

// tap answers 204 to whatever ends in a body of "END", and keeps all bytes as they came.
type tap struct {
	url string

	mu  sync.Mutex
	got []string
}

func newTap(t testing.TB) *tap {
	t.Helper()
	tp := &tap{}
	address := serve(t, func(c *net.TCPConn) {
		var all []byte
		for buffer := make([]byte, 64<<10); !bytes.HasSuffix(all, []byte("END")); {
			n, err := c.Read(buffer)
			if all = append(all, buffer[:n]...); err != nil {
				break
			}
		}
		tp.mu.Lock()
		tp.got = append(tp.got, string(all))
		tp.mu.Unlock()
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	tp.url = "http://" + address
	return tp
}

// taken are the connections' bytes so far.
func (tp *tap) taken() []string {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	got := tp.got
	tp.got = nil
	return got
}

// The request as it goes over the wire, byte for byte.
func TestWire(t *testing.T) {
	tp := newTap(t)
	host := strings.TrimPrefix(tp.url, "http://")
	out := attempt(t, newClient(t), post.Request{
		URL: tp.url + "/hooks/ä?b=c%20d", Body: []byte("{}END"),
		Header: []delivery.Header{
			{Name: "x-team", Value: "blue"}, {Name: "webhook-id", Value: "msg_1"}, {Name: "webhook-timestamp", Value: "1"}, {Name: "webhook-signature", Value: "v1,a"}, {Name: "X-Empty", Value: ""},
			// None of these can be registered; none is sent.
			{Name: "host", Value: "a"}, {Name: "Content-Length", Value: "7"}, {Name: "Transfer-Encoding", Value: "chunked"}, {Name: "Connection", Value: "close"}, {Name: "Expect", Value: "100-continue"},
			{Name: "Upgrade", Value: "h2c"}, {Name: "Trailer", Value: "X"}, {Name: "te", Value: "trailers"}, {Name: "User-Agent", Value: "me"}, {Name: "Content-Type", Value: "a/b"},
		},
	})
	wantCode(t, out, "")
	want := "POST /hooks/%C3%A4?b=c%20d HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\n" +
		"X-Team: blue\r\nWebhook-Id: msg_1\r\nWebhook-Timestamp: 1\r\nWebhook-Signature: v1,a\r\nX-Empty: \r\n" +
		"Content-Type: application/json\r\nUser-Agent: Doorstep/1.2.3\r\n\r\n{}END"
	if got := tp.taken(); len(got) != 1 || got[0] != want {
		t.Errorf("sent %q\nwant %q", got, want)
	}
}

// Whatever stands in a header's name and value, nothing is sent but that header, or nothing at all.
func TestNoHeaderBreaksOut(t *testing.T) {
	tp := newTap(t)
	client := newClient(t)
	text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune("a:\r\n \x00\tXé-\x7f")), 0, 12, -1))
	rapid.Check(t, func(t *rapid.T) {
		name, value, contentType := text.Draw(t, "name"), text.Draw(t, "value"), "a/b"
		if rapid.Bool().Draw(t, "plain name") {
			name = "X-Team"
		}
		if rapid.IntRange(0, 9).Draw(t, "content type") == 0 {
			contentType = text.Draw(t, "type") + "x"
		}
		out := client.Post(context.Background(), post.Request{URL: tp.url, ContentType: contentType, Header: []delivery.Header{{Name: name, Value: value}}, Body: []byte("END"), Timeout: patience})
		got := tp.taken()
		if !out.OK() {
			if out.ErrorCode != post.CodeProtocol || len(got) != 0 || strings.Contains(out.Error, value) && len(value) > 4 && !strings.Contains(name, value) {
				t.Fatalf("%q (%s), sent %q", out.ErrorCode, out.Error, got)
			}
			return
		}
		if len(got) != 1 {
			t.Fatalf("%d connections", len(got))
		}
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(got[0])))
		if err != nil || strings.Count(got[0], "\r\n") != strings.Count(got[0], "\n") || strings.Count(got[0], "\r") != strings.Count(got[0], "\n") || strings.Contains(got[0], "\x00") {
			t.Fatalf("sent %q: %v", got[0], err)
		}
		if len(request.Header) > 4 || strings.Count(got[0], "\n") > 7 || !strings.HasSuffix(got[0], "\r\n\r\nEND") {
			t.Fatalf("sent %q", got[0])
		}
	})
}

// When a connection is used again: as often as what came on it leaves no doubt.
func TestKeepAlive(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, tt := range map[string]struct {
		answer string
		status int
		reused bool
	}{
		"a length":                   {ok + "Content-Length: 2\r\n\r\nok", 200, true},
		"no body":                    {"HTTP/1.1 204 No Content\r\n\r\n", 204, true},
		"chunks":                     {ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, true},
		"chunks and trailers":        {ok + "Transfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n2;a=b\r\nok\r\n0\r\nX-A: b\r\n\r\n", 200, true},
		"an error":                   {"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", 500, true},
		"HTTP/1.0, kept":             {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, true},
		"100 that nobody asked for":  {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n", 200, true},
		"HTTP/1.0":                   {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, false},
		"Connection: close":          {ok + "Connection: close\r\nContent-Length: 2\r\n\r\nok", 200, false},
		"surplus":                    {ok + "Content-Length: 2\r\n\r\nokHTTP/1.1 418 Never\r\nContent-Length: 0\r\n\r\n", 200, false},
		"surplus of one byte":        {ok + "Content-Length: 2\r\n\r\nok\n", 200, false},
		"a body where none is":       {"HTTP/1.1 204 No Content\r\n\r\nsurplus", 204, false},
		"a refusal that is too long": {"HTTP/1.1 500 No\r\nContent-Length: 80000\r\n\r\n" + strings.Repeat("x", 80000), 500, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, func(c *net.TCPConn) {
				for r := bufio.NewReader(c); ; {
					if _, err := hostile.Request(r); err != nil {
						return
					}
					_, _ = io.WriteString(c, tt.answer)
				}
			})
			client := newClient(t)
			for i := range 3 {
				out := attempt(t, client, post.Request{URL: "http://" + address})
				if out.StatusCode != tt.status || out.Phases.Reused != (tt.reused && i > 0) {
					t.Errorf("attempt %d: status %d, reused %v; %q (%s)", i, out.StatusCode, out.Phases.Reused, out.ErrorCode, out.Error)
				}
			}
		})
	}
}

// An answer that comes before the request was read counts: the receiver closes, or reads no more and waits.
func TestAnswerBeforeTheRequestIsRead(t *testing.T) {
	const answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
	for name, after := range map[string]func(c *net.TCPConn, stop chan struct{}){
		"closes":        func(*net.TCPConn, chan struct{}) {},
		"ends its side": func(c *net.TCPConn, _ chan struct{}) { _ = c.CloseWrite(); hang(c) },
		"reads no more": func(_ *net.TCPConn, stop chan struct{}) { <-stop },
		"reads on":      func(c *net.TCPConn, _ chan struct{}) { hang(c) },
	} {
		for _, size := range []int{1 << 10, 256 << 10, 16 << 20} {
			t.Run(fmt.Sprintf("%s, %d KiB", name, size>>10), func(t *testing.T) {
				t.Parallel()
				stop := make(chan struct{})
				address := hostile.Listen(t, stop, func(c *net.TCPConn) {
					_ = c.SetReadBuffer(4096)
					if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
						return
					}
					_, _ = io.WriteString(c, answer)
					after(c, stop)
				})
				out := attempt(t, newClient(t), post.Request{URL: "http://" + address, Body: make([]byte, size)})
				wantCode(t, out, post.CodeStatus, "413")
				if string(out.ResponseBody) != "no" || out.Phases.Total > patience/2 {
					t.Errorf("body %q after %s", out.ResponseBody, out.Phases.Total)
				}
			})
		}
	}
}

// Large requests, which are written while the answer is waited for, leave their connection fit for use.
func TestLargeRequests(t *testing.T) {
	var received tally
	address := serve(t, func(c *net.TCPConn) {
		for r := bufio.NewReader(c); ; {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			n, err := io.Copy(io.Discard, request.Body)
			if err != nil {
				return
			}
			received.add(request.Header.Get("Webhook-Id"))
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Length: %d\r\nContent-Length: 0\r\n\r\n", n)
		}
	})
	client := newClient(t)
	for i, size := range []int{8 << 10, 7 << 10, 9 << 10, 256 << 10, 4 << 20, 0} {
		id := fmt.Sprint(i)
		out := attempt(t, client, post.Request{URL: "http://" + address, Body: make([]byte, size), Header: []delivery.Header{{Name: "webhook-id", Value: id}}})
		wantCode(t, out, "")
		if got := fmt.Sprint(out.ResponseHeaders); !strings.Contains(got, fmt.Sprintf("{X-Length %d}", size)) || out.Phases.Reused != (i > 0) || received.of(id) != 1 {
			t.Errorf("%d bytes: answer %s, reused %v, received %d times", size, got, out.Phases.Reused, received.of(id))
		}
	}
}

// A stop ends what is under way at once, wherever it is.
func TestCancelledAnywhere(t *testing.T) {
	for name, begin := range map[string]string{"no answer": "", "in the head": "HTTP/1.1 200 OK\r\nX-A", "in the body": "HTTP/1.1 200 OK\r\n\r\nab", "does not read": "-"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, stop := make(chan struct{}), make(chan struct{})
			address := hostile.Listen(t, stop, func(c *net.TCPConn) {
				_ = c.SetReadBuffer(4096)
				close(begun)
				if begin == "-" {
					<-stop
				}
				_, _ = io.WriteString(c, begin)
				hang(c)
			})
			client := newClient(t)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan delivery.Outcome, 1)
			go func() {
				ended <- client.Post(ctx, post.Request{URL: "http://" + address, Body: make([]byte, 16<<20), Timeout: time.Hour})
			}()
			<-begun
			cancel()
			wantCode(t, <-ended, post.CodeCancelled)
		})
	}
}
