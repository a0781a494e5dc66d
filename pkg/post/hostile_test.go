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
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
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
	return hostile.Listen(t, nil, f)
}

// readRequest reads one request with its body.
func readRequest(c net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, _ = io.Copy(io.Discard, request.Body)
	}
}

func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

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
