package post_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// BenchmarkPost compares Client.Post with a bare net/http loop that sends the same requests to the
// same receiver, in turns. Metric: posts per second of the client over those of the loop.
func BenchmarkPost(b *testing.B) {
	for _, inFlight := range []int{64, 256} {
		b.Run(fmt.Sprintf("%d in flight", inFlight), func(b *testing.B) {
			receiver := testkit.NewReceiver(b)
			receiver.CountOnly()
			client := newClient(b)
			transport := &http.Transport{MaxIdleConnsPerHost: 1024}
			defer transport.CloseIdleConnections()
			request := benchRequest(receiver.URL)
			ours := func() error {
				if out := client.Post(context.Background(), request); !out.OK() {
					return fmt.Errorf("%s: %s", out.ErrorCode, out.Error)
				}
				return nil
			}
			bare := func() error { return bare(&http.Client{Transport: transport}, request) }
			var bareTime, oursTime time.Duration
			run(b, inFlight, 4*inFlight, bare) // connections
			run(b, inFlight, 4*inFlight, ours)
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; left -= 2000 {
				n := min(left, 2000)
				bareTime += run(b, inFlight, n, bare)
				oursTime += run(b, inFlight, n, ours)
			}
			b.ReportMetric(float64(bareTime)/float64(oursTime), "ratio")
			b.ReportMetric(float64(b.N)/oursTime.Seconds(), "posts/s")
		})
	}
}

func benchRequest(url string) post.Request {
	return post.Request{
		URL: url + "/hooks", Body: bytes.Repeat([]byte("x"), 1024), ContentType: "application/json",
		Header: []delivery.Header{
			{Name: "Webhook-Id", Value: "6f1c3f0e-5a76-4c1b-9d53-1c1d5c1b0d11"},
			{Name: "Webhook-Timestamp", Value: "1614265330"},
			{Name: "Webhook-Signature", Value: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
			{Name: "X-Team", Value: "blue"},
		},
	}
}

func bare(client *http.Client, r post.Request) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, r.URL, bytes.NewReader(r.Body))
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

// run calls f n times, so many at once, and says how long that took.
func run(b *testing.B, inFlight, n int, f func() error) time.Duration {
	b.Helper()
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	start := time.Now()
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
	return time.Since(start)
}

// BenchmarkPostAlone is one attempt after another: see the allocations, the receiver's included.
func BenchmarkPostAlone(b *testing.B) {
	receiver := testkit.NewReceiver(b)
	receiver.CountOnly()
	client := newClient(b)
	request := benchRequest(receiver.URL)
	b.Run("client", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if out := client.Post(context.Background(), request); !out.OK() {
				b.Fatal(out.Error)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			if err := bare(&http.Client{Transport: transport}, request); err != nil {
				b.Fatal(err)
			}
		}
	})
}
