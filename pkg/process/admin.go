package process

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// checkTimeout bounds one readiness check; probes commonly give up after some seconds.
const checkTimeout = time.Second

// Check says whether a part is ready: nil, or what it waits for. It must heed its context.
type Check func(ctx context.Context) error

// Admin holds the endpoints that operators and Kubernetes ask. It is a prometheus.Collector of doorstep_ready.
//
//	/healthz      200 while the process answers
//	/readyz       200 when every check passes, else 503; the body says which do not
//	/metrics      Prometheus
type Admin struct {
	metrics http.Handler

	mu     sync.Mutex
	checks map[string]Check
}

// NewAdmin serves the metrics of g.
func NewAdmin(g prometheus.Gatherer) *Admin {
	return &Admin{
		metrics: promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		checks:  make(map[string]Check),
	}
}

// AddCheck makes readiness depend on check under a name that is told when it fails. A second
// check of the same name replaces the first.
func (a *Admin) AddCheck(name string, check Check) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks[name] = check
}

// Mount adds /healthz, /readyz and /metrics to a mux that serves other things too.
func (a *Admin) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", a.serveReady)
	mux.Handle("GET /metrics", a.metrics)
}

// Handler is everything of an admin address: Mount.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	a.Mount(mux)
	return mux
}

// Readiness is the body of /readyz: "ok" or what it waits for, by check.
type Readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"`
}

// Readiness asks every check, all at the same time, each for at most a second.
func (a *Admin) Readiness(ctx context.Context) Readiness {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var (
		wg sync.WaitGroup
		mu sync.Mutex
		r  = Readiness{Ready: true, Checks: make(map[string]string)}
	)
	for name, check := range a.snapshot() {
		wg.Go(func() {
			err := check(ctx)
			mu.Lock()
			defer mu.Unlock()
			r.Checks[name] = "ok"
			if err != nil {
				r.Ready, r.Checks[name] = false, err.Error()
			}
		})
	}
	wg.Wait()
	return r
}

// ready is a metric of Admin.
var ready = prometheus.NewDesc("doorstep_ready", "Whether a service of this process is ready: 1, or 0, and /readyz says what it waits for.", []string{"service"}, nil)

// Describe and Collect tell what /readyz does, as metrics.
func (a *Admin) Describe(out chan<- *prometheus.Desc) { out <- ready }

// Collect asks every check.
func (a *Admin) Collect(out chan<- prometheus.Metric) {
	for name, state := range a.Readiness(context.Background()).Checks {
		is := 0.0
		if state == "ok" {
			is = 1
		}
		out <- prometheus.MustNewConstMetric(ready, prometheus.GaugeValue, is, name)
	}
}

func (a *Admin) snapshot() map[string]Check {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.checks)
}

func (a *Admin) serveReady(w http.ResponseWriter, req *http.Request) {
	r := a.Readiness(req.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !r.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(r)
}
