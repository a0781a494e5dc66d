package app_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/embedded"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
)

// config is everything embedded in dir, on free ports.
func config(t *testing.T, dir string) app.Config {
	t.Helper()
	cfg, err := app.Default(dir)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs cfg until the returned function stops it, which fails the test if the stop does.
func start(t *testing.T, cfg app.Config) (a *app.App, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
	within, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	if err := a.WaitReady(within); err != nil {
		stop()
		t.Fatal(err)
	}
	return a, stop
}

// get is the status and the body's decoded JSON of a path.
func get(t *testing.T, a *app.App, path, key string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&body) // /metrics is no JSON
	return resp.StatusCode, body
}

func TestFirstStartMakesAKeyThatLasts(t *testing.T) {
	dir := t.TempDir()
	a, stop := start(t, config(t, dir))
	key := a.Key()
	if !strings.HasPrefix(key, "dsk_") {
		t.Errorf("key %q", key)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/debug/pprof/heap": 404, "/api/v1/webhooks": 200} {
		if got, _ := get(t, a, path, key); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	_, ready := get(t, a, "/readyz", "")
	for _, name := range []string{"console", "ingest", "matcher", "sender", "recorder", "notifier"} {
		if checks, _ := ready["checks"].(map[string]any); checks[name] != "ok" {
			t.Errorf("/readyz says %v", ready)
		}
	}
	if _, err := app.New(t.Context(), config(t, dir), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use by another doorstep") {
		t.Errorf("a second one on the same data: %v", err)
	}
	stop()

	again, stop := start(t, config(t, dir))
	defer stop()
	if again.Key() != "" {
		t.Error("a key is shown again")
	}
	if got, _ := get(t, again, "/api/v1/webhooks", key); got != 200 {
		t.Errorf("the key of the first start: %d", got)
	}
}

// A failed start frees the data directory and the addresses that it took.
func TestFailedStartLeavesNothingBehind(t *testing.T) {
	running, stop := start(t, config(t, t.TempDir()))
	defer stop()
	dir := t.TempDir()
	taken := config(t, dir)
	taken.Ingest.Addr = running.GRPC()
	if _, err := app.New(t.Context(), taken, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--grpc") {
		t.Fatalf("a port in use: %v", err)
	}
	_, stopFree := start(t, config(t, dir))
	stopFree()
}

// Each store is the one at its address, where there is one.
func TestStoresElsewhere(t *testing.T) {
	cfg := config(t, t.TempDir())
	elsewhere, err := embedded.Open(t.Context(), embedded.Config{Dir: t.TempDir(), Log: true, Redis: true})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	cfg.Kafka.Brokers, cfg.Redis.URL = elsewhere.Brokers(), elsewhere.RedisURL()
	a, stop := start(t, cfg)
	defer stop()
	if a.Key() == "" {
		t.Error("no key")
	}
}
