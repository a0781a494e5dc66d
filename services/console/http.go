package console

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/trace"
)

// Limits of the server. A body of 8 MiB has 30 s; an event's answer waits for the log.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	shutdownTimeout   = 10 * time.Second
)

const (
	// workTime bounds what a request asks of the stores: one that hangs is answered like one that is gone. Answers that
	// go on, as a tail's, have bounds of their own.
	workTime = 5 * time.Second
	// keyTime bounds looking up a key in SQL; the log knows all but the newest.
	keyTime = time.Second
)

type contextKey int

const (
	requestIDKey contextKey = iota
	callerKey
	listKey
	actingKey
	demandKey
	noneMatchKey
	onceKey
	traceKey
)

// requestID names the request that a context belongs to.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// traceOf is the traceparent of the request that a context belongs to.
func traceOf(ctx context.Context) string {
	parent, _ := ctx.Value(traceKey).(string)
	return parent
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	trace  string // traceparent of what the request does; empty: none
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// around names every request, measures and logs it, and answers where a handler panics.
func (s *Service) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, id := time.Now(), "req_"+rand.Text()
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		rec := &recorder{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey, id))
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("request panicked", "request_id", id, "route", r.Pattern, "panic", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					writeProblem(rec, r, newProblem(http.StatusInternalServerError, "this is a fault of Doorstep"))
				}
			}
			took := time.Since(start)
			s.requests.With(prometheus.Labels{"route": r.Pattern, "status": strconv.Itoa(rec.status)}).Observe(took.Seconds())
			// What the caller wrote is not logged, the path included, but for an id that is one.
			s.log.Debug("request", "request_id", id, "trace_id", trace.ID(rec.trace), "method", r.Method, "route", r.Pattern, "id", idOf(r),
				"status", rec.status, "duration", took)
		}()
		next.ServeHTTP(rec, r)
	})
}

// idOf is the id in a request's path; empty: there is none, or it cannot be one.
func idOf(r *http.Request) string {
	id := r.PathValue("id")
	if checkID(id) != nil {
		return ""
	}
	return id
}

func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	p.RequestID = requestID(r.Context())
	w.Header().Set("Content-Type", p.ContentType(""))
	maps.Copy(w.Header(), p.header)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// elsewhere answers what no route does: 405 where the path has other methods, else 404.
func elsewhere(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed, literally []string // of webhooks/try, what is not of webhooks/{id} too
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
			_, pattern := mux.Handler(other)
			if pattern != "/" && pattern != "GET /{$}" {
				allowed = append(allowed, method)
			}
			if pattern == method+" "+r.URL.Path {
				literally = append(literally, method)
			}
		}
		if len(literally) > 0 {
			allowed = literally
		}
		if len(allowed) > 0 {
			w.Header()["Allow"] = allowed
			writeProblem(w, r, newProblem(http.StatusMethodNotAllowed, "this path has other methods"))
			return
		}
		writeProblem(w, r, newProblem(http.StatusNotFound, "there is no such path; the API is described at /api/openapi.json"))
	}
}

// index says what is here: to a browser, the pages of the console.
func index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, webRoot, http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("Doorstep. The API is described at /api/openapi.json\n"))
}
