package post_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
)

// TestBenchProcess is no test: it is the process of the benchmark's receivers, so that their CPU is not counted.
func TestBenchProcess(t *testing.T) {
	if os.Getenv("BENCH_RECEIVERS") != "1" {
		t.Skip("the receivers of the benchmark")
	}
	for _, name := range []string{"HTTP/1.1", "TLS, HTTP/1.1", "HTTP/2"} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusNoContent)
		}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		certificate := ""
		if name == "HTTP/1.1" {
			s.Start()
		} else {
			s.EnableHTTP2 = name == "HTTP/2"
			s.StartTLS()
			certificate = hex.EncodeToString(s.Certificate().Raw)
		}
		defer s.Close()
		fmt.Printf("%s\t%s\t%s\n", name, s.URL, certificate)
	}
	fmt.Println("ready\t\t")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// receivers starts them, and returns their URLs by protocol, and whom to trust.
func receivers(b *testing.B) (urls map[string]string, roots *x509.CertPool) {
	b.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestBenchProcess$", "-test.timeout=0")
	command.Env = append(os.Environ(), "BENCH_RECEIVERS=1")
	in, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait() // how it ends says nothing
	})
	urls, roots = map[string]string{}, x509.NewCertPool()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		parts := strings.Split(lines.Text(), "\t")
		if len(parts) != 3 {
			continue
		}
		if parts[0] == "ready" {
			go func() { _, _ = io.Copy(io.Discard, out) }() // what it says at its end
			return urls, roots
		}
		urls[parts[0]] = parts[1]
		if raw, err := hex.DecodeString(parts[2]); err == nil && len(raw) > 0 {
			certificate, err := x509.ParseCertificate(raw)
			if err != nil {
				b.Fatal(err)
			}
			roots.AddCert(certificate)
		}
	}
	b.Fatal("the receivers ended")
	return nil, nil
}

// spent is what was used so far by this process.
type spent struct {
	cpu     time.Duration
	calls   int64 // reads and writes
	mallocs uint64
	bytes   uint64
}

func usage(b *testing.B) (s spent) {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	s.cpu = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	io, _ := os.ReadFile("/proc/self/io") // where there is one
	for line := range strings.Lines(string(io)) {
		var n int64
		if _, err := fmt.Sscanf(line, "syscr: %d", &n); err == nil {
			s.calls += n
		}
		if _, err := fmt.Sscanf(line, "syscw: %d", &n); err == nil {
			s.calls += n
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.mallocs, s.bytes = m.Mallocs, m.TotalAlloc
	return s
}

func (s *spent) add(from, to spent) {
	s.cpu += to.cpu - from.cpu
	s.calls += to.calls - from.calls
	s.mallocs += to.mallocs - from.mallocs
	s.bytes += to.bytes - from.bytes
}

// BenchmarkClients compares Client.Post with a bare net/http loop that sends the same requests to the same receiver
// in another process, in turns, 64 in flight. CPU is that of this process alone; ratio is the client's over the loop's.
func BenchmarkClients(b *testing.B) {
	const inFlight, turn = 64, 2000
	urls, roots := receivers(b)
	for _, protocol := range []string{"HTTP/1.1", "TLS, HTTP/1.1", "HTTP/2"} {
		b.Run(protocol, func(b *testing.B) {
			client := newClient(b, func(c *post.Config) { c.RootCAs = roots })
			transport := &http.Transport{MaxIdleConnsPerHost: 1024, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
			defer transport.CloseIdleConnections()
			request := benchRequest(urls[protocol])
			ctx, cancel := context.WithCancel(context.Background()) // as a sender's, which ends
			defer cancel()
			ours := func() error {
				if out := client.Post(ctx, request); !out.OK() {
					return fmt.Errorf("%s: %s", out.ErrorCode, out.Error)
				}
				return nil
			}
			bare := func() error { return bare(ctx, &http.Client{Transport: transport}, request) }
			run(b, inFlight, 4*inFlight, bare) // connections
			run(b, inFlight, 4*inFlight, ours)
			var loop, us spent
			b.ResetTimer()
			for left := b.N; left > 0; left -= turn {
				n := min(left, turn)
				start := usage(b)
				run(b, inFlight, n, bare)
				middle := usage(b)
				run(b, inFlight, n, ours)
				loop.add(start, middle)
				us.add(middle, usage(b))
			}
			n := float64(b.N)
			b.ReportMetric(float64(us.cpu)/float64(loop.cpu), "ratio")
			b.ReportMetric(us.cpu.Seconds()*1e6/n, "us/post")
			b.ReportMetric(loop.cpu.Seconds()*1e6/n, "us/bare-post")
			b.ReportMetric(float64(us.calls)/n, "rw-calls/post")
			b.ReportMetric(float64(loop.calls)/n, "rw-calls/bare-post")
			b.ReportMetric(float64(us.mallocs)/n, "allocs/post")
			b.ReportMetric(float64(loop.mallocs)/n, "allocs/bare-post")
			b.ReportMetric(float64(us.bytes)/n, "B/post")
		})
	}
}

func benchRequest(url string) post.Request {
	return post.Request{
		URL: url + "/hooks", Body: bytes.Repeat([]byte("x"), 1024), ContentType: "application/json",
		Header: []delivery.Header{
			{Name: "webhook-id", Value: "6f1c3f0e-5a76-4c1b-9d53-1c1d5c1b0d11"},
			{Name: "webhook-timestamp", Value: "1614265330"},
			{Name: "webhook-signature", Value: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
			{Name: "X-Team", Value: "blue"},
		},
	}
}

func bare(ctx context.Context, client *http.Client, r post.Request) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return err
	}
	for _, h := range r.Header {
		request.Header.Set(h.Name, h.Value)
	}
	request.Header.Set("Content-Type", r.ContentType)
	request.Header.Set("User-Agent", "Doorstep/1.2.3")
	resp, err := client.Do(request)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// run calls f n times, so many at once.
func run(b *testing.B, inFlight, n int, f func() error) {
	b.Helper()
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range inFlight {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
