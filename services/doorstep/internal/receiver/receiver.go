// Package receiver is a webhook receiver for trying things out: it verifies signatures, tells of
// every delivery, counts the attempts of each, and fails or dawdles when it is asked to.
package receiver

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/signature"
)

// EventTypeHeader is the header in which Doorstep names the event's type.
const EventTypeHeader = "Doorstep-Event-Type"

// Limits of what a receiver takes and remembers.
const (
	maxBodyBytes = 4 << 20 // above any body that Doorstep sends
	maxRemember  = 100_000 // deliveries whose attempts are counted; the oldest is forgotten
)

// Config says how a receiver behaves.
type Config struct {
	// Secrets verify signatures: one of them has to match. None: they are not looked at.
	Secrets []signature.Secret
	// Status is the answer to an accepted request. Default 204.
	Status int
	// Delay is waited before every answer.
	Delay time.Duration
	// FailFirst is how many attempts of each delivery are answered 500 before one is accepted.
	FailFirst int
	// Told gets every request, one at a time, before it is answered.
	Told func(Request)
}

// Request is one attempt as it arrived.
type Request struct {
	At        time.Time
	Path      string
	ID        string // webhook-id: the delivery
	EventType string
	Attempt   int   // how often this delivery has been seen, this time included
	SameBody  bool  // byte for byte the body of its first attempt
	Secrets   int   // how many there were to verify with
	By        []int // those of them that a signature was made with, from 1
	Wrong     error // what is wrong with the signature; nil: verified, if there was a secret
	Status    int   // what is answered
	Header    http.Header
	Body      []byte
}

// Verdict is what to tell people about the signature.
func (r Request) Verdict() string {
	switch {
	case r.Secrets == 0:
		return "signature not checked: give the webhook's secret with --secret"
	case r.Wrong != nil:
		return "signature REFUSED: " + r.Wrong.Error()
	default:
		return "signature verified" + ByWhich(r.By, r.Secrets)
	}
}

// Verify is signature.Verify, and tells which of the secrets, counted from 1, a signature was made with:
// while a webhook's secret is being replaced, the former one and the new one.
func Verify(secrets []signature.Secret, h signature.Headers, body []byte, now time.Time, tolerance time.Duration) (by []int, err error) {
	if err := signature.Verify(secrets, h, body, now, tolerance); err != nil {
		return nil, err
	}
	for i, s := range secrets {
		if signature.Verify([]signature.Secret{s}, h, body, now, tolerance) == nil {
			by = append(by, i+1)
		}
	}
	return by, nil
}

// ByWhich says in words which of several secrets verified; nothing if there is one only.
func ByWhich(by []int, of int) string {
	if of < 2 {
		return ""
	}
	numbers := make([]string, len(by))
	for i, n := range by {
		numbers[i] = strconv.Itoa(n)
	}
	if len(by) == 1 {
		return fmt.Sprintf(" by secret %s of %d", numbers[0], of)
	}
	return fmt.Sprintf(" by secrets %s of %d", strings.Join(numbers, " and "), of)
}

// Receiver is an http.Handler that takes webhooks.
type Receiver struct {
	cfg Config

	mu    sync.Mutex
	seen  map[string]*first
	order []string // ids by age, for forgetting
}

// first is what is remembered of a delivery.
type first struct {
	attempts int
	body     [sha256.Size]byte
}

// New makes a receiver. It errs if the status cannot be answered.
func New(cfg Config) (*Receiver, error) {
	if cfg.Status == 0 {
		cfg.Status = http.StatusNoContent
	}
	if cfg.Status < 200 || cfg.Status > 599 {
		return nil, fmt.Errorf("status %d: want 200 to 599", cfg.Status)
	}
	if cfg.Told == nil {
		cfg.Told = func(Request) {}
	}
	return &Receiver{cfg: cfg, seen: map[string]*first{}}, nil
}

// ServeHTTP takes one request: 401 if its signature is wrong, as a receiver should answer, 500 for
// the attempts that are to fail, else the status of the settings.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBodyBytes))
	if err != nil {
		http.Error(w, "body not readable", http.StatusBadRequest)
		return
	}
	got := Request{
		At: at, Path: req.URL.Path, ID: req.Header.Get(signature.HeaderID), EventType: req.Header.Get(EventTypeHeader),
		Header: req.Header, Body: body, Secrets: len(r.cfg.Secrets),
	}
	if got.Secrets > 0 {
		got.By, got.Wrong = Verify(r.cfg.Secrets, signature.HeadersOf(req.Header), body, at, signature.Tolerance)
	}
	status := r.note(&got)
	if r.cfg.Delay > 0 {
		select {
		case <-time.After(r.cfg.Delay):
		case <-req.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
}

// note counts the attempt, decides the answer and tells of it.
func (r *Receiver) note(got *Request) int {
	sum := sha256.Sum256(got.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.seen[got.ID]
	if f == nil {
		f = &first{body: sum}
		r.seen[got.ID] = f
		if r.order = append(r.order, got.ID); len(r.order) > maxRemember {
			delete(r.seen, r.order[0])
			r.order = r.order[1:]
		}
	}
	f.attempts++
	got.Attempt, got.SameBody = f.attempts, f.body == sum
	switch {
	case got.Wrong != nil:
		got.Status = http.StatusUnauthorized
	case f.attempts <= r.cfg.FailFirst:
		got.Status = http.StatusInternalServerError
	default:
		got.Status = r.cfg.Status
	}
	r.cfg.Told(*got)
	return got.Status
}
