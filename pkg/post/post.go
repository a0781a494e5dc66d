// Package post makes one HTTP attempt: it POSTs a body to a webhook's URL and says what came of it.
//
// Whatever happens is an outcome, the receiver's refusal and every failure included. Success is an
// answer 200-299 that was read completely; redirects are not followed. What a hostile or broken
// receiver can cost is bounded: the connection (DNS, dial and TLS under one deadline), the whole
// attempt, the answer's headers and its body. Every address is judged when it is dialled, by
// pkg/egress, so a name that changes its address after registration gains nothing.
//
// # What a request costs at most
//
//	time        Request.Timeout; a quarter of a second more where HTTP/2 is blocked by a receiver that does not read
//	connecting  Config.ConnectTimeout for DNS, TCP and TLS together; 64 KiB of a TLS handshake
//	answer      64 KiB of headers, those of all 1xx included; 64 KiB of body; 16 connections looked for
//	HTTP/2      512 KiB read for each attempt under way, 64 KiB of it unread in memory; no push; a connection
//	            that is silent for 3 s is pinged, and closed 5 s later
//	memory      MaxAttemptBytes; an idle connection some 20 KiB, 64 KiB more with the longest certificates
//
// # Once, or certainly not looked at
//
// A request is sent once. It is sent again within the attempt only where the receiver cannot have looked
// at it: on a connection that it had closed before a byte was written, and over HTTP/2, at most twice, when it
// says so itself (REFUSED_STREAM, or GOAWAY with an earlier last stream: RFC 9113, section 8.7), which servers do that
// restart. Whatever else goes wrong, also a close that crosses with the request, fails the attempt (CodeReset), and
// only the delivery's next attempt sends it again. Connections are kept idle for a shorter time than most servers do, so
// that this is rare.
//
// What a receiver sends on a connection before it was asked is never taken for an answer: see http1.
package post

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Limits of an answer, in bytes.
const (
	MaxHeaderBytes         = 64 << 10 // of all headers
	MaxBodyBytes           = 64 << 10
	DefaultKeepAnswerBytes = 4 << 10  // of the body, in the outcome
	MaxKeepAnswerBytes     = 16 << 10 // the log holds every attempt
	keptHeaders            = 8 << 10  // of names and values, in the outcome
)

// MaxAttemptBytes is the most memory, in bytes, that an attempt under way holds beside its request,
// whatever its receiver does: net/http's index of 64 KiB of the shortest headers, which a receiver
// never ends. Others hold some 50 KiB: the connection's buffers, TLS, three goroutines.
const MaxAttemptBytes = 2 << 20

// Config is how a Client connects. The zero Config is a strict client with the defaults.
type Config struct {
	Egress          egress.Policy    // where attempts may go
	Version         string           // Doorstep's, for the header User-Agent; default "dev"
	ConnectTimeout  time.Duration    // for DNS, dial and TLS together; default 5 s
	MaxIdle         int              // idle connections kept in all; default 1024
	IdleTimeout     time.Duration    // how long a connection is kept idle; default 4 s
	KeepAnswerBytes *int             // first bytes of an answer's body in the outcome, 0 to MaxKeepAnswerBytes; default DefaultKeepAnswerBytes
	RootCAs         *x509.CertPool   // whom to trust; default the system's
	Resolver        *net.Resolver    // default the system's
	Now             func() time.Time // for Retry-After with a date; default time.Now
}

func (c Config) withDefaults() Config {
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = webhook.ConnectTimeout
	}
	if c.MaxIdle <= 0 {
		c.MaxIdle = 1024
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = 4 * time.Second // Node.js and Apache close after 5 s
	}
	if c.KeepAnswerBytes == nil {
		c.KeepAnswerBytes = new(DefaultKeepAnswerBytes)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Request is one attempt.
type Request struct {
	URL         string
	Header      []delivery.Header // custom headers and those of the signature; one value a name
	Body        []byte            // must not be changed afterwards
	ContentType string            // default application/json
	Timeout     time.Duration     // from the start until the answer is completely read; default 10 s
}

// Client makes attempts. It is safe for concurrent use and keeps connections open between them.
type Client struct {
	config    Config
	keep      int // first bytes of an answer's body
	transport *http.Transport
	userAgent []string
	buffers   sync.Pool // of *[]byte, for reading bodies: what is kept, and room to pass over the rest

	mu      sync.RWMutex
	targets map[string]*http.Request // by URL as registered; accepted ones
}

const (
	passOverBytes = 4 << 10 // of a body, at once, behind what is kept
	maxTargets    = 16 << 10
)

// New returns a client.
func New(config Config) *Client {
	config = config.withDefaults()
	keep := min(max(*config.KeepAnswerBytes, 0), MaxKeepAnswerBytes)
	return &Client{
		config:    config,
		keep:      keep,
		userAgent: []string{"Doorstep/" + config.Version},
		buffers:   sync.Pool{New: func() any { return new(make([]byte, keep+passOverBytes)) }},
		targets:   map[string]*http.Request{},
		transport: newTransport(config, newDialer(config)),
	}
}

// Close closes the idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Post makes one attempt. If ctx ends before the attempt does, the outcome is CodeCancelled: then
// the receiver is not to blame, and what it saw is not known.
func (c *Client) Post(ctx context.Context, r Request) delivery.Outcome {
	start := time.Now()
	out := delivery.Outcome{URL: r.URL}
	target, err := c.target(r.URL)
	if err != nil {
		refused(&out, err)
		return out
	}
	if r.Timeout <= 0 {
		r.Timeout = webhook.DefaultTimeout
	}
	limited, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	limited, giveUp := context.WithCancelCause(limited)
	defer giveUp(nil)
	a := &attempt{start: start, done: limited.Done(), giveUp: giveUp}
	defer a.leave()
	req, secrets := c.request(httptrace.WithClientTrace(limited, a.trace()), target, r, &out)

	resp, err := c.roundTrip(req, r.Body, a) //nolint:bodyclose // read closes it
	if err == nil {
		err = c.readInTime(limited, a, resp, secrets, &out)
	}
	a.describe(&out)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		out.ErrorCode, out.Error = CodeCancelled, stopped
	case errors.Is(context.Cause(limited), errTurnedAway):
		explain(&out, errTurnedAway, a.reused)
	case limited.Err() != nil:
		out.ErrorCode, out.Error = timedOut(a.conn != nil, out.StatusCode, r.Timeout)
	default:
		if a.http1 != nil {
			err = a.http1.reason(err)
		}
		explain(&out, err, a.reused)
	}
	out.Phases.Total = time.Since(start)
	return out
}

// roundTrip sends a request until it was certainly sent. Without GetBody, net/http sends no body twice
// by itself: it would where a receiver says PROTOCOL_ERROR, and where a header Idempotency-Key is set.
func (c *Client) roundTrip(req *http.Request, body []byte, a *attempt) (*http.Response, error) {
	for again := 0; ; again++ {
		resp, err := c.transport.RoundTrip(req)
		if err == nil || req.Context().Err() != nil || !a.unseen(err, again) {
			return resp, err
		}
		next := *req
		next.Body = bodyOf(body)
		req, a.gets = &next, 0
	}
}

// readInTime is read, which over HTTP/2 does not end with the context by itself.
func (c *Client) readInTime(ctx context.Context, a *attempt, resp *http.Response, secrets []string, out *delivery.Outcome) error {
	if a.http1 == nil && a.conn != nil && resp.Body != http.NoBody {
		defer context.AfterFunc(ctx, a.conn.unblock)()
	}
	return c.read(resp, secrets, out)
}

// target is a request to raw without its parts that change, to be copied. Judging a URL takes long
// enough to matter, so the accepted ones are remembered; there are as many as webhooks.
func (c *Client) target(raw string) (*http.Request, error) {
	c.mu.RLock()
	target := c.targets[raw]
	c.mu.RUnlock()
	if target != nil {
		return target, nil
	}
	u, err := c.config.Egress.CheckURL(raw)
	if err != nil {
		return nil, err
	}
	target = &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.targets) >= maxTargets {
		clear(c.targets)
	}
	c.targets[raw] = target
	return target, nil
}

// request completes a target, and notes in out the headers that it sends. It returns the secret values
// among them too.
func (c *Client) request(ctx context.Context, target *http.Request, r Request, out *delivery.Outcome) (*http.Request, []string) {
	if r.ContentType == "" {
		r.ContentType = "application/json"
	}
	header := make(http.Header, len(r.Header)+2)
	noted := make([]delivery.Header, 0, len(r.Header)+2)
	values := make([]string, 0, len(r.Header)+1) // one allocation for all
	var secrets []string
	set := func(name, value string, secret bool) {
		n := len(values)
		values = append(values, value)
		header[name] = values[n : n+1 : n+1]
		if secret {
			secrets = addCredentials(secrets, value)
			value = mask
		}
		noted = append(noted, delivery.Header{Name: name, Value: value})
	}
	for _, h := range r.Header {
		name := http.CanonicalHeaderKey(h.Name)
		set(name, h.Value, secretSent(name, h.Value))
	}
	set("Content-Type", r.ContentType, false)
	header["User-Agent"] = c.userAgent
	noted = append(noted, delivery.Header{Name: "User-Agent", Value: c.userAgent[0]})
	out.RequestHeaders = noted

	req := target.WithContext(ctx)
	req.Header = header
	req.ContentLength = int64(len(r.Body))
	req.Body = bodyOf(r.Body)
	return req, secrets
}

// bodyOf is a body of a type that net/http knows to be in memory: it then writes headers and body
// at once, for which it otherwise takes two packets and a fifth more time.
func bodyOf(b []byte) io.ReadCloser {
	if len(b) == 0 {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(b))
}
