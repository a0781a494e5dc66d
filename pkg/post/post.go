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
//	connecting  Config.ConnectTimeout for DNS, TCP and TLS together; 64 KiB of a TLS handshake; 16 connections opened
//	answer      64 KiB of headers, those of all 1xx included; 64 KiB of body
//	HTTP/2      512 KiB read for each attempt under way, 64 KiB of it unread in memory; no push; a connection
//	            that is silent for 3 s is pinged, and closed 5 s later
//	memory      MaxAttemptBytes; an idle connection some 20 KiB, 64 KiB more with the longest certificates, and no
//	            goroutine but HTTP/2's own; Config.MaxIdle of them, however many hosts there are
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
// What a receiver sends on a connection before it was asked is never taken for an answer: each idle connection is
// looked at, without waiting, right before it is used (link.quiet).
//
// # Connections
//
// Attempts that find no connection wait for a dial, the same one where the receiver speaks HTTP/2 or is not known yet.
// A dial that hangs holds up only those who came at its begin, and each of them no longer than its own time to connect.
// The addresses of a name are remembered for 5 s; every one is judged when it is dialled, wherever it comes from.
//
// # Why not net/http's Transport, nor fasthttp
//
// The Transport has two goroutines for each connection that pass every request on, and reads ahead; this package writes
// a request and reads its answer where Post was called. With 64 signed POSTs of 1 KiB in flight that takes half of the CPU
// of a bare net/http loop (0.47-0.57) and less than half of what the same attempts took over the Transport (0.40-0.44),
// more than half of it in the kernel. fasthttp is a fifth cheaper still, but has neither HTTP/2 nor contexts, and parses answers
// by rules of its own. So answers are parsed by net/http, and HTTP/2 is golang.org/x/net's.
// BenchmarkClients measures it.
package post

import (
	"context"
	"crypto/x509"
	"net"
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
// never ends. Others hold some 20 KiB: the connection's buffers, TLS.
const MaxAttemptBytes = 2 << 20

// Config is how a Client connects. The zero Config is a strict client with the defaults.
type Config struct {
	Egress          egress.Policy    // where attempts may go
	Version         string           // Doorstep's, for the header User-Agent; default "dev"
	ConnectTimeout  time.Duration    // for DNS, dial and TLS together; default 5 s
	MaxIdle         int              // idle connections kept in all, whomever to; default 1024
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
	pool      *pool
	targets   targets
	userAgent string
	bodies    sync.Pool // of *[]byte, for reading bodies: what is kept, and room to pass over the rest
	requests  sync.Pool // of *[]byte, for writing requests of HTTP/1
}

const passOverBytes = 4 << 10 // of a body, at once, behind what is kept

// New returns a client.
func New(config Config) *Client {
	config = config.withDefaults()
	keep := min(max(*config.KeepAnswerBytes, 0), MaxKeepAnswerBytes)
	return &Client{
		config:    config,
		keep:      keep,
		pool:      newPool(config),
		targets:   targets{policy: config.Egress, known: map[string]*target{}},
		userAgent: "Doorstep/" + config.Version,
		bodies:    sync.Pool{New: func() any { return new(make([]byte, keep+passOverBytes)) }},
		requests:  sync.Pool{New: func() any { return new(make([]byte, 0, oneWriteBytes)) }},
	}
}

// Close closes the idle connections. From then on none is kept, and no name's addresses are.
func (c *Client) Close() { c.pool.close() }

// Post makes one attempt. If ctx ends before the attempt does, the outcome is CodeCancelled: then
// the receiver is not to blame, and what it saw is not known.
func (c *Client) Post(ctx context.Context, r Request) delivery.Outcome {
	start := time.Now()
	out := delivery.Outcome{URL: r.URL}
	target, err := c.targets.of(r.URL)
	if err != nil {
		refused(&out, err)
		return out
	}
	if r.Timeout <= 0 {
		r.Timeout = webhook.DefaultTimeout
	}
	a := &attempt{target: target, body: r.Body, end: start.Add(r.Timeout)}
	if a.fields, err = c.fields(r); err == nil {
		out.RequestHeaders, a.secrets = masked(a.fields)
		err = c.try(ctx, a, &out)
	}
	a.describe(&out)
	now := time.Now()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		out.ErrorCode, out.Error = CodeCancelled, stopped
	case !now.Before(a.end):
		out.ErrorCode, out.Error = timedOut(a.link != nil, out.StatusCode, r.Timeout)
	default:
		explain(&out, err, a.reused)
	}
	out.Phases.Total = now.Sub(start)
	return out
}

// try sends a request until it was certainly sent.
func (c *Client) try(ctx context.Context, a *attempt, out *delivery.Outcome) error {
	for turnedTo := 0; ; {
		a.link, a.reused, a.unsent = nil, false, false
		l, err := c.pool.get(ctx, a)
		if err != nil {
			return err
		}
		a.link = l
		if l.http2 == nil {
			err = c.over1(ctx, a, out)
		} else {
			err = c.over2(ctx, a, out)
		}
		switch {
		case err == nil, ctx.Err() != nil, !time.Now().Before(a.end):
			return err
		case a.unsent:
		case turnedTo < maxTurnedTo && turnedAway(err):
			turnedTo++
		default:
			return err
		}
	}
}
