package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/process"
)

// TestMain runs this binary as a small program of its own when a test asks for one.
func TestMain(m *testing.M) {
	if os.Getenv("PROCESS_TEST_PROGRAM") != "" {
		err := process.Run(context.Background(), process.Config{Log: slog.New(slog.DiscardHandler)},
			process.Component{Name: "stuck", Run: func(ctx context.Context) error {
				fmt.Println("started")
				<-ctx.Done()
				fmt.Println("stopping")
				if os.Getenv("PROCESS_TEST_PROGRAM") == "stuck" {
					select {}
				}
				return ctx.Err()
			}})
		os.Exit(process.ExitCode(err))
	}
	os.Exit(m.Run())
}

// recorder notes what happened, in order.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) add(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

// part is a component that takes some time to stop once asked.
func (r *recorder) part(name string, stage int, stopping time.Duration) process.Component {
	return process.Component{Name: name, Stage: stage, Run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(stopping)
		r.add(name)
		return ctx.Err()
	}}
}

// quiet is a Config whose signals a test sends.
func quiet() (process.Config, chan os.Signal) {
	signals := make(chan os.Signal, 2)
	return process.Config{Signals: signals, Log: slog.New(slog.DiscardHandler)}, signals
}

func TestStopsHighestStageFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		cfg, signals := quiet()
		signals <- syscall.SIGTERM
		err := process.Run(t.Context(), cfg,
			r.part("stores", 1, 0), r.part("sender", 2, 2*time.Second),
			r.part("ingest", 3, time.Second), r.part("http", 3, 3*time.Second))
		if err != nil {
			t.Fatalf("Run = %v, want a clean stop", err)
		}
		if want := []string{"ingest", "http", "sender", "stores"}; !slices.Equal(r.events, want) {
			t.Errorf("stopped %v, want %v", r.events, want)
		}
	})
}

func TestEndOfContextStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		cfg, _ := quiet()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := process.Run(ctx, cfg, r.part("one", 0, 0)); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestErrorStopsTheOthersAndNamesTheComponent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		cfg, _ := quiet()
		broken := errors.New("connection refused")
		err := process.Run(t.Context(), cfg, r.part("sender", 1, time.Second),
			process.Component{Name: "matcher", Run: func(context.Context) error { return broken }})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "matcher: connection refused") {
			t.Errorf("Run = %v, want the matcher's error", err)
		}
		if !slices.Equal(r.events, []string{"sender"}) {
			t.Errorf("stopped %v, want the sender drained", r.events)
		}
		if process.ExitCode(err) != 1 {
			t.Errorf("exit code %d, want 1", process.ExitCode(err))
		}
	})
}

// A component that ends because some context of its own ended has failed, unless it was asked to stop.
func TestUnaskedCancellationIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := quiet()
		err := process.Run(t.Context(), cfg,
			process.Component{Name: "matcher", Run: func(context.Context) error { return context.Canceled }})
		if err == nil {
			t.Error("Run = nil, want the matcher's error")
		}
	})
}

func TestDoneComponentLetsTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		cfg, signals := quiet()
		time.AfterFunc(time.Hour, func() { signals <- os.Interrupt })
		start := time.Now()
		err := process.Run(t.Context(), cfg, r.part("server", 1, 0),
			process.Component{Name: "migrate", Run: func(context.Context) error { return nil }})
		if err != nil || time.Since(start) != time.Hour {
			t.Errorf("Run = %v after %s, want nil at the signal, after 1h", err, time.Since(start))
		}
	})
}

func TestGraceNamesWhatDidNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		cfg, signals := quiet()
		cfg.Grace = 10 * time.Second
		signals <- syscall.SIGTERM
		err := process.Run(t.Context(), cfg, r.part("slow", 2, time.Minute), r.part("behind", 1, 0))
		if err == nil || err.Error() != "not stopped after 10s: slow, behind" {
			t.Errorf("Run = %v", err)
		}
		time.Sleep(time.Minute) // of the bubble's own clock: what was left behind must end in it
	})
}

func TestSignalsOfTheProcess(t *testing.T) {
	for name, tt := range map[string]struct {
		signals []os.Signal
		mode    string
		want    int
	}{
		"SIGTERM drains":         {[]os.Signal{syscall.SIGTERM}, "drains", 0},
		"SIGINT drains":          {[]os.Signal{syscall.SIGINT}, "drains", 0},
		"a second stops at once": {[]os.Signal{syscall.SIGINT, syscall.SIGINT}, "stuck", 130},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "PROCESS_TEST_PROGRAM="+tt.mode)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			for _, s := range tt.signals {
				if _, err := lines.ReadString('\n'); err != nil { // it says a line before each signal
					t.Fatal(err)
				}
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = io.Copy(io.Discard, lines)
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.want {
				t.Errorf("exit code %d, want %d", got, tt.want)
			}
		})
	}
}
