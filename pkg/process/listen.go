package process

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Listen opens a TCP listener on addr (host:port, port 0 for any free one). flag is the flag that
// sets addr, without dashes; the errors that a user can mend name it.
func Listen(addr, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: address already in use; choose another with --%s", addr, flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: permission denied; choose a port above 1023 with --%s", addr, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine has no such address; choose another with --%s", addr, flag)
	}
	var bad *net.AddrError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &bad):
		return nil, fmt.Errorf("listen on %s: %s; --%s takes host:port", addr, bad.Err, flag)
	case errors.As(err, &dns):
		return nil, fmt.Errorf("listen on %s: %s; --%s takes host:port", addr, dns.Err, flag)
	case errors.As(err, &op):
		return nil, fmt.Errorf("listen on %s: %w; see --%s", addr, op.Err, flag)
	}
	return nil, fmt.Errorf("listen on %s: %w; see --%s", addr, err, flag)
}

// Server serves HTTP on one listener, as a component.
type Server struct {
	listener net.Listener
	http     http.Server
}

// Time limits of a server: slow headers and idle connections must not hold sockets for ever.
// Bodies have no limit here, since long answers (a CPU profile, a stream) are fine.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	shutdownTimeout   = 5 * time.Second
)

// NewServer listens on addr and serves handler there once it runs. flag is as in Listen.
func NewServer(addr, flag string, handler http.Handler) (*Server, error) {
	l, err := Listen(addr, flag)
	if err != nil {
		return nil, err
	}
	return &Server{listener: l, http: http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
	}}, nil
}

// UseTLS has the server speak TLS, and HTTP/2 if config offers it; nil: plain. It is called before Run.
func (s *Server) UseTLS(config *tls.Config) { s.http.TLSConfig = config }

// ServeHTTP serves on a listener until the server is shut down, over TLS if it has a configuration.
func ServeHTTP(server *http.Server, l net.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(l, "", "")
	}
	return server.Serve(l)
}

// Addr is the host:port that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends, then lets requests under way finish for 5 s.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- ServeHTTP(&s.http, s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve http on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(wait); err != nil {
		return s.http.Close()
	}
	return nil
}

// Close frees the address of a server that never ran.
func (s *Server) Close() error { return s.listener.Close() }
