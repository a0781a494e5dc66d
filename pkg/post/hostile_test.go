package post_test

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// stateSignal sends to closed for each connection that the server closes.
func stateSignal(closed chan<- struct{}) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
}

// serve runs a server that handles each connection with f and closes it afterwards. It returns its
// address.
func serve(t testing.TB, f func(c *net.TCPConn)) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []*net.TCPConn
	)
	wg.Go(func() {
		for {
			c, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return listener.Addr().String()
}

// readRequest reads one request with its body.
func readRequest(c net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, _ = io.Copy(io.Discard, request.Body)
	}
}

// drip writes s again and again until the connection is closed.
func drip(c net.Conn, s string, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
	}
}

func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func reset(c *net.TCPConn) { _ = c.SetLinger(0) } // so that its close is a reset

func TestHostileReceivers(t *testing.T) {
	client := newClient(t)
	for name, tt := range map[string]struct {
		serve  func(c *net.TCPConn)
		code   string
		status int
	}{
		"hangs": {func(c *net.TCPConn) { hang(c) }, post.CodeTimeout, 0},
		"hangs within the status line": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 20")
			hang(c)
		}, post.CodeTimeout, 0},
		"drips headers": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			drip(c, "X-A: b\r\n", 20*time.Millisecond)
		}, post.CodeTimeout, 0},
		"drips the body": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			drip(c, "x", 20*time.Millisecond)
		}, post.CodeTimeout, 200},
		"drips chunks": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n")
			drip(c, "1\r\nx\r\n", 20*time.Millisecond)
		}, post.CodeTimeout, 202},
		"refuses, then drips": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 410 Gone\r\nContent-Length: 1000\r\n\r\n")
			drip(c, "x", 20*time.Millisecond)
		}, post.CodeTimeout, 410},
		"endless headers": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			drip(c, strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 20), time.Millisecond)
		}, post.CodeTooLarge, 0},
		"an endless header": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: ")
			drip(c, strings.Repeat("b", 20_000), time.Millisecond)
		}, post.CodeTooLarge, 0},
		"endless 103s": {func(c *net.TCPConn) {
			readRequest(c)
			drip(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 400), time.Millisecond)
		}, post.CodeTooLarge, 0},
		"closes at once":           {func(*net.TCPConn) {}, post.CodeReset, 0},
		"closes without an answer": {func(c *net.TCPConn) { readRequest(c) }, post.CodeReset, 0},
		"resets without an answer": {func(c *net.TCPConn) { readRequest(c); reset(c) }, post.CodeReset, 0},
		"closes within the headers": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: ")
		}, post.CodeReset, 0},
		"closes within the body": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		}, post.CodeReset, 200},
		"closes within a chunk": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc")
		}, post.CodeReset, 200},
		"body to the connection's end": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
		}, "", 200},
		"is no HTTP": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\xff\r\n\r\n")
		}, post.CodeProtocol, 0},
		"a status that is none": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 abc OK\r\n\r\n")
		}, post.CodeProtocol, 0},
		"chunks that are none": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
		}, post.CodeProtocol, 200},
		"100 and 103, then 204": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
		}, "", 204},
		"100 and no more": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			hang(c)
		}, post.CodeTimeout, 0},
		"switches protocols": {func(c *net.TCPConn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			hang(c)
		}, post.CodeProtocol, 101},
		// An answer before the first byte of the request is no answer to it, and net/http may drop it.
		"answers before it has read": {func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
			hang(c)
		}, post.CodeStatus, 413},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := patience
			if tt.code == post.CodeTimeout {
				timeout = totalTimeout
			}
			if name == "refuses, then drips" {
				tt.code = post.CodeStatus // the refusal says more than what becomes of its body
			}
			out := attempt(t, client, post.Request{URL: "http://" + serve(t, tt.serve), Timeout: timeout})
			wantCode(t, out, tt.code)
			if out.StatusCode != tt.status || !utf8.ValidString(out.Error) {
				t.Errorf("status %d, want %d; words %q", out.StatusCode, tt.status, out.Error)
			}
		})
	}
}

// A large body that nobody reads blocks the write, not the attempt.
func TestReceiverThatDoesNotRead(t *testing.T) {
	stop := make(chan struct{})
	address := serve(t, func(c *net.TCPConn) { _ = c.SetReadBuffer(4096); <-stop })
	defer close(stop)
	out := attempt(t, newClient(t), post.Request{URL: "http://" + address, Body: make([]byte, 16<<20), Timeout: totalTimeout})
	wantCode(t, out, post.CodeTimeout)
}

func TestAnswerHeadersAreTame(t *testing.T) {
	address := serve(t, func(c *net.TCPConn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA-Latin: caf\xe9\r\n")
		for i := range 40 {
			_, _ = fmt.Fprintf(c, "X-%02d: %s\r\n", i, strings.Repeat("y", 1000))
		}
		_, _ = io.WriteString(c, "\r\n")
	})
	out := attempt(t, newClient(t), post.Request{URL: "http://" + address})
	wantCode(t, out, "")
	size := 0
	for _, h := range out.ResponseHeaders {
		size += len(h.Name) + len(h.Value)
	}
	if size == 0 || size > 8<<10 || out.ResponseHeaders[0] != (delivery.Header{Name: "A-Latin", Value: "caf?"}) {
		t.Errorf("kept %d bytes of headers, the first %+v", size, out.ResponseHeaders[0])
	}
}

func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	out := attempt(t, newClient(t), post.Request{URL: "http://" + address})
	wantCode(t, out, post.CodeRefused, address)
	if out.RemoteAddress != address || out.Phases.Connect <= 0 {
		t.Errorf("remote %q, phases %+v", out.RemoteAddress, out.Phases)
	}
}

func TestConnectTimeout(t *testing.T) {
	address, ok := testkit.Blackhole(t)
	if !ok {
		t.Skip("this kernel answers although a listener's queue is full")
	}
	out := attempt(t, newClient(t, hasty), post.Request{URL: "http://" + address})
	wantCode(t, out, post.CodeConnectTimeout, "TCP connection", address)
	if out.RemoteAddress != address {
		t.Errorf("RemoteAddress = %q, want %s", out.RemoteAddress, address)
	}
	// The whole attempt's limit may be the shorter one.
	wantCode(t, attempt(t, newClient(t), post.Request{URL: "http://" + address, Timeout: 50 * time.Millisecond}), post.CodeConnectTimeout, "50ms")
}

func tlsServer(t *testing.T, http2 bool) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client is gone
		switch r.URL.Path {
		case "/hang":
			<-r.Context().Done()
		case "/headers":
			for i := range 66 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("y", 1000))
			}
		case "/body":
			_, _ = w.Write(make([]byte, post.MaxBodyBytes+1))
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Proto", r.Proto)
	}))
	server.EnableHTTP2 = http2
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server, roots
}

func TestTLS(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			server, roots := tlsServer(t, http2)
			client := newClient(t, func(c *post.Config) { c.RootCAs = roots })
			for i := range 3 {
				out := attempt(t, client, post.Request{URL: server.URL})
				wantCode(t, out, "")
				if !strings.Contains(fmt.Sprint(out.ResponseHeaders), "{X-Proto "+name+"}") || out.Phases.Reused != (i > 0) {
					t.Errorf("reused %v, headers %v", out.Phases.Reused, out.ResponseHeaders)
				}
				if i == 0 && (out.Phases.TLS <= 0 || out.Phases.Connect <= 0) {
					t.Errorf("phases %+v", out.Phases)
				}
				if !strings.HasSuffix(server.URL, out.RemoteAddress) || out.RemoteAddress == "" {
					t.Errorf("RemoteAddress = %q", out.RemoteAddress)
				}
			}
			wantCode(t, attempt(t, client, post.Request{URL: server.URL + "/hang", Timeout: totalTimeout}), post.CodeTimeout)
			wantCode(t, attempt(t, client, post.Request{URL: server.URL + "/headers"}), post.CodeTooLarge, "headers")
			wantCode(t, attempt(t, client, post.Request{URL: server.URL + "/body"}), post.CodeTooLarge, "body")
			if out := attempt(t, client, post.Request{URL: server.URL + "/abort"}); out.ErrorCode != post.CodeReset && out.ErrorCode != post.CodeProtocol {
				t.Errorf("an aborted answer: %q (%s)", out.ErrorCode, out.Error)
			}
		})
	}
}

func TestTLSFailures(t *testing.T) {
	server, roots := tlsServer(t, true)
	trusting := newClient(t, func(c *post.Config) { c.RootCAs = roots })
	for name, tt := range map[string]struct {
		client *post.Client
		url    string
		code   string
		words  string
	}{
		"self-signed":     {newClient(t), server.URL, post.CodeTLS, "authority"},
		"another name":    {trusting, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), post.CodeTLS, "not for localhost"},
		"plain HTTP":      {trusting, "https://" + serve(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); hang(c) }), post.CodeTLS, "does not speak TLS"},
		"closed":          {trusting, "https://" + serve(t, func(c *net.TCPConn) { _, _ = io.ReadFull(c, make([]byte, 5)) }), post.CodeTLS, "closed the connection"},
		"stalled":         {newClient(t, hasty), "https://" + serve(t, func(c *net.TCPConn) { hang(c) }), post.CodeConnectTimeout, "TLS handshake"},
		"stalled halfway": {newClient(t, hasty), "https://" + serve(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "\x16\x03\x03\x00\x7a\x02"); hang(c) }), post.CodeConnectTimeout, "TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, attempt(t, tt.client, post.Request{URL: tt.url}), tt.code, tt.words)
		})
	}
}
