package post_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
)

// What happens to an idle connection is seen before a request is sent on it: no attempt fails for it, or takes what
// came for its answer.
func TestWhatComesUnasked(t *testing.T) {
	authority := hostile.NewAuthority(t)
	config := authority.ServerConfig(t)
	for name, happens := range map[string]func(c net.Conn){
		"an answer":    func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 299 Never\r\nContent-Length: 0\r\n\r\n") },
		"half an one":  func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 2") },
		"a line's end": func(c net.Conn) { _, _ = io.WriteString(c, "\r\n") },
		"a close":      func(c net.Conn) { _ = c.Close() },
		"a reset": func(c net.Conn) {
			if s, ok := c.(*tls.Conn); ok {
				c = s.NetConn()
			}
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		},
	} {
		for scheme, secure := range map[string]bool{"http": false, "https": true} {
			t.Run(name+", "+scheme, func(t *testing.T) {
				answered, happened := make(chan struct{}, 1), make(chan struct{})
				address := hostile.Listen(t, nil, func(tcp *net.TCPConn) {
					c := net.Conn(tcp)
					if secure {
						c = tls.Server(tcp, config)
					}
					r := bufio.NewReader(c)
					for {
						if _, err := hostile.Request(r); err != nil {
							return
						}
						_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
						select {
						case <-answered: // only the first connection
							happens(c)
							close(happened)
							hang(c)
							return
						case <-t.Context().Done():
							return
						}
					}
				})
				client := newClient(t, func(c *post.Config) { c.RootCAs = authority.Pool() })
				wantCode(t, attempt(t, client, post.Request{URL: scheme + "://" + address}), "")
				answered <- struct{}{}
				<-happened
				out := attempt(t, client, post.Request{URL: scheme + "://" + address})
				wantCode(t, out, "")
				if out.StatusCode != 204 || out.Phases.Reused {
					t.Errorf("status %d, reused %v", out.StatusCode, out.Phases.Reused)
				}
			})
		}
	}
}
