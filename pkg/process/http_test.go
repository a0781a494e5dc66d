package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/process"
)

func TestListenSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for addr, want := range map[string]string{
		taken.Addr().String(): ": address already in use; choose another with --http",
		"127.0.0.1":           ": missing port in address; --http takes host:port",
		"127.0.0.1:99999":     ": invalid port; --http takes host:port",
		"192.0.2.1:0":         ": this machine has no such address; choose another with --http",
	} {
		l, err := process.Listen(addr, "http")
		if err == nil {
			l.Close()
			t.Errorf("Listen(%q) works, want an error", addr)
			continue
		}
		if got := err.Error(); got != "listen on "+addr+want {
			t.Errorf("Listen(%q) = %q, want it to end in %q", addr, got, want)
		}
	}
}

func TestAdminEndpoints(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "doorstep_test"}, func() float64 { return 7 }))
	admin := process.NewAdmin(reg)
	waiting := errors.New("reading webhooks, 3 of 5 partitions")
	admin.AddCheck("kafka", func(context.Context) error { return nil })
	admin.AddCheck("webhooks", func(context.Context) error { return waiting })

	if code, body := get(t, admin.Handler(), "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz = %d %q", code, body)
	}
	code, body := get(t, admin.Handler(), "/readyz")
	var got process.Readiness
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := process.Readiness{Checks: map[string]string{"kafka": "ok", "webhooks": waiting.Error()}}
	if diff := cmp.Diff(want, got); code != 503 || diff != "" {
		t.Errorf("/readyz = %d, want 503; body: %s", code, diff)
	}
	waiting = nil
	if code, body := get(t, admin.Handler(), "/readyz"); code != 200 {
		t.Errorf("/readyz once ready = %d %s", code, body)
	}
	if code, body := get(t, admin.Handler(), "/metrics"); code != 200 || !strings.Contains(body, "doorstep_test 7") {
		t.Errorf("/metrics = %d %s", code, body)
	}
}

// A check that never answers makes the process not ready, and the answer does not wait for it.
func TestHangingCheck(t *testing.T) {
	admin := process.NewAdmin(prometheus.NewRegistry())
	admin.AddCheck("redis", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	r := admin.Readiness(t.Context())
	if r.Ready || r.Checks["redis"] == "ok" {
		t.Errorf("Readiness = %+v", r)
	}
}

func TestAdminHasNoProfiles(t *testing.T) {
	if code, _ := get(t, process.NewAdmin(prometheus.NewRegistry()).Handler(), "/debug/pprof/heap"); code != 404 {
		t.Errorf("pprof on an admin address = %d, want 404", code)
	}
}

func TestProfilesAreForThisMachineAlone(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1", "6060", "localhost.example.com:0"} {
		if s, err := process.NewProfiles(addr, "pprof"); err == nil {
			s.Close()
			t.Errorf("profiles on %s are not refused", addr)
		} else if !strings.Contains(err.Error(), "--pprof") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	s, err := process.NewProfiles("127.0.0.1:0", "pprof")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	resp, err := http.Get("http://" + s.Addr() + "/debug/pprof/heap")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("profile = %d", resp.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServerRunsOnAnyPort(t *testing.T) {
	s, err := process.NewServer("127.0.0.1:0", "admin", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	resp, err := http.Get("http://" + s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "hello" {
		t.Errorf("body %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("still listening after Run")
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}
