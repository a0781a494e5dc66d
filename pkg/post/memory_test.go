package post_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
)

// TestReceiversProcess is no test: it is the process of the receivers, so that their memory is not
// counted as the client's. It serves every kind until its standard input ends.
func TestReceiversProcess(t *testing.T) {
	if os.Getenv("HOSTILE_RECEIVERS") != "1" {
		t.Skip("the receivers of other tests")
	}
	authority := hostile.NewAuthority(t)
	fmt.Printf("authority\t%s\n", authority.File)
	for _, kind := range hostile.Kinds() {
		fmt.Printf("%s\t%s\n", kind.Name, authority.Start(t, kind).URL)
	}
	fmt.Println("ready\t")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// elsewhere starts the receivers in a process of their own. It returns their URLs by kind, and whom to trust.
func elsewhere(t *testing.T) (urls map[string]string, roots *x509.CertPool) {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestReceiversProcess$", "-test.timeout=0")
	command.Env = append(os.Environ(), "HOSTILE_RECEIVERS=1")
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait() // how it ends says nothing
	})
	urls, roots = map[string]string{}, x509.NewCertPool()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "\t")
		switch name {
		case "ready":
			go func() { // what it says at its end
				for lines.Scan() {
					continue
				}
			}()
			return urls, roots
		case "authority":
			pem, err := os.ReadFile(value)
			if err != nil || !roots.AppendCertsFromPEM(pem) {
				t.Fatalf("the receivers' authority: %v", err)
			}
		default:
			urls[name] = value
		}
	}
	t.Fatal("the receivers ended")
	return nil, nil
}

// live is the memory that is in use, in bytes.
func live() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What a receiver can make an attempt hold while it lasts.
func TestMemoryOfAnAttempt(t *testing.T) {
	const inFlight = 64
	urls, roots := elsewhere(t)
	for _, name := range []string{
		"stalls behind 60 KB of short headers", "stalls in the body behind 60 KB of short headers",
		"HTTP/2: stalls behind large headers", "HTTP/2: fills its window and stalls",
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, func(c *post.Config) { c.RootCAs = roots })
			ctx, cancel := context.WithCancel(t.Context())
			before := live()
			var wg sync.WaitGroup
			for range inFlight {
				wg.Go(func() { client.Post(ctx, post.Request{URL: urls[name], Body: []byte("{}"), Timeout: time.Minute}) })
			}
			var most uint64
			for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); { // until what comes has come
				most = max(most, live())
			}
			cancel()
			wg.Wait()
			each := (int64(most) - int64(before)) / inFlight //nolint:gosec // a heap
			t.Logf("%d KiB each", each>>10)
			if each > post.MaxAttemptBytes {
				t.Errorf("%d bytes for each attempt, more than MaxAttemptBytes", each)
			}
		})
	}
}

// With attempts at every kind in flight all the time, memory and goroutines stay as they are.
// HOSTILE_TIME is for how long; see the curve with -v.
func TestCurve(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("HOSTILE_TIME"))
	if err != nil {
		length = 2500 * time.Millisecond
	}
	urls, roots := elsewhere(t)
	client := newClient(t, func(c *post.Config) { c.RootCAs, c.ConnectTimeout = roots, connectTimeout })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var (
		wg   sync.WaitGroup
		done atomic.Int64
	)
	const each = 2
	for _, url := range urls {
		for range each {
			wg.Go(func() {
				for ctx.Err() == nil {
					start := time.Now()
					client.Post(ctx, post.Request{URL: url, Body: make([]byte, 4<<10), Timeout: totalTimeout})
					done.Add(1)
					pause(ctx, totalTimeout-time.Since(start)) // as retries do: the fast kinds are not all there is
				}
			})
		}
	}
	inFlight := each * len(urls)
	samples := sample(t, length, &done)
	cancel()
	wg.Wait()
	first, second := samples[:len(samples)/2], samples[len(samples)/2:]
	if a, b := mean(first, heapOf), mean(second, heapOf); b > a*1.3+8<<20 {
		t.Errorf("the heap grows: %.1f MiB in the first half, %.1f in the second", a/(1<<20), b/(1<<20))
	}
	if a, b := mean(first, goroutinesOf), mean(second, goroutinesOf); b > a*1.3+50 {
		t.Errorf("goroutines grow: %.0f in the first half, %.0f in the second", a, b)
	}
	for _, s := range samples {
		if limit := uint64(inFlight) * post.MaxAttemptBytes; s.heap > limit { //nolint:gosec // a small number
			t.Errorf("after %s: %d bytes of heap, the bound of %d attempts is %d", s.at, s.heap, inFlight, limit)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// point is a moment of the curve.
type point struct {
	at         time.Duration
	heap       uint64 // in use, garbage included
	goroutines int
}

func heapOf(p point) float64       { return float64(p.heap) }
func goroutinesOf(p point) float64 { return float64(p.goroutines) }

func mean(points []point, of func(point) float64) float64 {
	sum := 0.0
	for _, p := range points {
		sum += of(p)
	}
	return sum / float64(len(points))
}

// sample looks each second, or twenty times if that is less, and logs what it sees. The first fifth is not counted.
func sample(t *testing.T, length time.Duration, done *atomic.Int64) []point {
	t.Helper()
	var points []point
	start := time.Now()
	every := min(time.Second, length/20)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	t.Log("    time  heap MiB  goroutines  attempts")
	for last := time.Duration(0); ; {
		<-ticker.C
		at := time.Since(start)
		if at >= length {
			return points
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p := point{at, m.HeapInuse, runtime.NumGoroutine()}
		if at > length/5 {
			points = append(points, p)
		}
		if at-last >= length/30 {
			last = at
			t.Logf("%8s %9.1f %11d %9d", at.Round(100*time.Millisecond), float64(p.heap)/(1<<20), p.goroutines, done.Load())
		}
	}
}
