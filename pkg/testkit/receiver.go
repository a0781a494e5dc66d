package testkit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Received is one request that a Receiver got.
type Received struct {
	Method string
	Path   string // with the query, as it came
	Header http.Header
	Body   []byte    // exactly as it came
	At     time.Time // when its body was read
	Remote string    // address and port of the sender
}

// Behaviour is how a Receiver answers. The zero Behaviour answers 204 at once. The fields apply
// in their order.
type Behaviour struct {
	Func       http.HandlerFunc // answers instead of all below; the request is recorded, its body still there to read
	Delay      time.Duration    // before the answer
	Hang       bool             // never answer, until the sender gives up or the receiver is closed
	FailFirst  int              // so many requests get FailStatus, then come the fields below
	FailStatus int              // default 500
	Status     int              // default 204, or 200 with a Body
	Header     http.Header
	Body       []byte
	Drip       time.Duration // between one byte of Body and the next; 0: all at once
}

// Receiver is an HTTP server on 127.0.0.1 that records every request, in the order in which they
// were read, and answers as it is told. It keeps all that it records, headers and bodies.
type Receiver struct {
	URL string // http://127.0.0.1:port

	server *http.Server
	closed chan struct{}
	served chan struct{} // closed when the server has ended

	mu         sync.Mutex
	requests   []Received
	count      int
	countOnly  bool
	behaviours map[string]Behaviour
	failed     map[string]int
	waiting    []waiter
}

type waiter struct {
	count int
	done  chan struct{}
}

// NewReceiver starts a receiver and closes it when the test ends.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start receiver: %v", err)
	}
	r := &Receiver{
		URL:        "http://" + listener.Addr().String(),
		closed:     make(chan struct{}),
		served:     make(chan struct{}),
		behaviours: map[string]Behaviour{},
		failed:     map[string]int{},
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(r.served)
		if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("receiver: %v", err)
		}
	}()
	t.Cleanup(r.Close)
	return r
}

// Close ends all requests that hang and stops the server. It may be called more than once.
func (r *Receiver) Close() {
	r.mu.Lock()
	select {
	case <-r.closed:
	default:
		close(r.closed)
	}
	r.mu.Unlock()
	_ = r.server.Close() // only says that its listener was closed already
	<-r.served
}

// Set says how requests to a path (without query) are answered; path "" stands for all that are
// not set by themselves. It starts counting FailFirst anew.
func (r *Receiver) Set(path string, b Behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behaviours[path] = b
	delete(r.failed, path)
}

// CountOnly makes the receiver count requests without keeping them, for long runs.
func (r *Receiver) CountOnly() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.countOnly = true
}

// Count is the number of requests so far.
func (r *Receiver) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// Requests are the requests so far.
func (r *Receiver) Requests() []Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Received(nil), r.requests...)
}

// RequestsTo are the requests so far to a path, whatever their query.
func (r *Receiver) RequestsTo(path string) []Received {
	var matching []Received
	for _, request := range r.Requests() {
		if to, _, _ := strings.Cut(request.Path, "?"); to == path {
			matching = append(matching, request)
		}
	}
	return matching
}

// Wait returns the requests once there are n, and ends the test if that takes longer than timeout.
func (r *Receiver) Wait(t testing.TB, n int, timeout time.Duration) []Received {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := r.WaitContext(ctx, n); err != nil {
		t.Fatal(err)
	}
	return r.Requests()
}

// WaitContext returns once there are n requests, and errs if ctx ends before.
func (r *Receiver) WaitContext(ctx context.Context, n int) error {
	r.mu.Lock()
	if r.count >= n {
		r.mu.Unlock()
		return nil
	}
	w := waiter{n, make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("receiver got %d requests, not %d: %w", r.Count(), n, ctx.Err())
	}
}

// ServeHTTP records the request and answers it.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := readAll(request)
	if err != nil {
		return // the sender broke off: there is no request
	}
	b, fail := r.record(request, body)
	if b.Func != nil {
		request.Body = io.NopCloser(bytes.NewReader(body))
		b.Func(w, request)
		return
	}
	if b.Hang {
		r.pause(request, nil)
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	if b.Delay > 0 {
		timer := time.NewTimer(b.Delay)
		defer timer.Stop()
		if !r.pause(request, timer.C) {
			panic(http.ErrAbortHandler)
		}
	}
	if fail {
		w.WriteHeader(cmp.Or(b.FailStatus, http.StatusInternalServerError))
		return
	}
	r.answer(w, request, b)
}

func (r *Receiver) answer(w http.ResponseWriter, request *http.Request, b Behaviour) {
	maps.Copy(w.Header(), b.Header)
	if len(b.Body) == 0 {
		w.WriteHeader(cmp.Or(b.Status, http.StatusNoContent))
		return
	}
	w.WriteHeader(cmp.Or(b.Status, http.StatusOK))
	if b.Drip <= 0 {
		_, _ = w.Write(b.Body) // the sender may be gone
		return
	}
	ticker := time.NewTicker(b.Drip)
	defer ticker.Stop()
	for i := range b.Body {
		if !r.pause(request, ticker.C) {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(b.Body[i : i+1])
		_ = http.NewResponseController(w).Flush()
	}
}

// pause waits for c, and is false if the sender or the receiver goes before.
func (r *Receiver) pause(request *http.Request, c <-chan time.Time) bool {
	select {
	case <-c:
		return true
	case <-request.Context().Done():
		return false
	case <-r.closed:
		return false
	}
}

// record notes the request, and returns how to answer it and whether it is one of those to fail.
func (r *Receiver) record(request *http.Request, body []byte) (b Behaviour, fail bool) {
	received := Received{
		Method: request.Method, Path: request.RequestURI, Header: request.Header, Body: body,
		At: time.Now(), Remote: request.RemoteAddr,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if !r.countOnly {
		r.requests = append(r.requests, received)
	}
	for i := 0; i < len(r.waiting); {
		if r.count < r.waiting[i].count {
			i++
			continue
		}
		close(r.waiting[i].done)
		r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
	}
	key := request.URL.Path
	b, set := r.behaviours[key]
	if !set {
		key = ""
		b = r.behaviours[key]
	}
	if r.failed[key] < b.FailFirst {
		r.failed[key]++
		return b, true
	}
	return b, false
}

func readAll(request *http.Request) ([]byte, error) {
	if request.ContentLength < 0 {
		return io.ReadAll(request.Body)
	}
	body := make([]byte, request.ContentLength)
	_, err := io.ReadFull(request.Body, body)
	return body, err
}
