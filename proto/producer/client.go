package producer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// Event is what is published: see its fields for their limits. Type is required.
type Event = doorstepv1.Event

// Options are what a Client can be told.
type Options struct {
	// Key is the API key, "dsk_...", with the scope "events". It goes with every call.
	Key string
	// Tenant is whom a platform key acts for. Empty: the key's own, or "default".
	Tenant string
	// TLS is how the server is known and the client shows itself. Nil: TLS 1.2 or newer with the system's authorities; without
	// encryption where the address is a loopback's.
	TLS *tls.Config
	// Plain speaks without encryption, also beyond this machine: the key can be read on the way.
	Plain bool
	// RetryFor is how long an event is tried for while no server takes it. 0: 30 s. Negative: it is tried once. Where a stream makes
	// no progress for that long, all that it holds ends with ErrUnacknowledged.
	RetryFor time.Duration
	// Dial are gRPC's options beside ours, e.g. an interceptor.
	Dial []grpc.DialOption
}

const (
	defaultRetryFor = 30 * time.Second
	// tryTimeout bounds one call: a server answers, or says that it cannot, within 6 s.
	tryTimeout = 15 * time.Second
	// Of a connection whose server has gone without a word; a server takes one ping every 10 s at most.
	keepaliveTime    = 20 * time.Second
	keepaliveTimeout = 10 * time.Second
)

// Client publishes to one address. It is safe for concurrent use, and one is enough for a program.
type Client struct {
	conn     *grpc.ClientConn
	ingest   doorstepv1.IngestServiceClient
	retryFor time.Duration
}

// New makes a client of the gRPC server at addr, host:port. https:// before it demands encryption, http:// its absence. Where the
// name has several addresses they are used in turns. Nothing is connected before the first event. Close ends it.
func New(addr string, o Options) (*Client, error) {
	if o.Key == "" {
		return nil, errors.New("producer: an API key is required")
	}
	target, secure, err := o.transport(addr)
	if err != nil {
		return nil, fmt.Errorf("producer: %w", err)
	}
	transport := insecure.NewCredentials()
	if secure != nil {
		transport = credentials.NewTLS(secure)
	}
	conn, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(caller{o.Key, o.Tenant, secure != nil}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.2, MaxDelay: longestPause},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
	}, o.Dial...)...)
	if err != nil {
		return nil, fmt.Errorf("producer: address %q: %w", addr, err)
	}
	c := &Client{conn: conn, ingest: doorstepv1.NewIngestServiceClient(conn), retryFor: o.RetryFor}
	if c.retryFor == 0 {
		c.retryFor = defaultRetryFor
	}
	return c, nil
}

// transport is where to connect to, and by what TLS; nil: none.
func (o Options) transport(addr string) (target string, secure *tls.Config, err error) {
	target, encrypted := strings.CutPrefix(addr, "https://")
	target, bare := strings.CutPrefix(target, "http://")
	if _, port, err := net.SplitHostPort(target); (err != nil || port == "") && !strings.Contains(target, "://") {
		return "", nil, fmt.Errorf("address %q: want host:port", addr)
	}
	switch {
	case (o.Plain || bare) && (encrypted || o.TLS != nil):
		return "", nil, fmt.Errorf("address %q: encrypted and plain at once", addr)
	case o.Plain || bare || o.TLS == nil && !encrypted && loopback(target):
		return target, nil, nil
	case o.TLS != nil:
		return target, o.TLS, nil
	}
	return target, &tls.Config{MinVersion: tls.VersionTLS12}, nil
}

func loopback(target string) bool {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Ping errs if no server can be reached within ctx. A server answers while it takes no events, too.
func (c *Client) Ping(ctx context.Context) error {
	_, err := grpc_health_v1.NewHealthClient(c.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled {
		return err
	}
	return nil
}

// Close ends the connections. Close the streams first.
func (c *Client) Close() error { return c.conn.Close() }

// caller is the metadata of every call.
type caller struct {
	key, tenant string
	secure      bool
}

func (c caller) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	md := map[string]string{"authorization": "Bearer " + c.key}
	if c.tenant != "" {
		md["doorstep-tenant"] = c.tenant
	}
	return md, nil
}

// RequireTransportSecurity keeps the key from a connection that is not what New has decided on.
func (c caller) RequireTransportSecurity() bool { return c.secure }
