package upgrade

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// receiver counts what it accepts, by webhook and delivery. Webhooks under /fails are refused at the first attempt of each
// delivery, those under /slow answered late.
type receiver struct {
	url string

	mu       sync.Mutex
	refused  map[string]bool // deliveries, once
	accepted map[string]int  // by delivery
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{refused: map[string]bool{}, accepted: map[string]int{}}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

// ServeHTTP is http.Handler's.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	id := req.Header.Get(deliveryHeader)
	if req.URL.Path == "/slow" {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-req.Context().Done():
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.URL.Path == "/fails" && !r.refused[id] {
		r.refused[id] = true
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.accepted[id]++
}

const deliveryHeader = "webhook-id"

// times is how often each of the deliveries was accepted.
func (r *receiver) times(ids []string) (never, again int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		switch n := r.accepted[id]; {
		case n == 0:
			never++
		case n > 1:
			again++
		}
	}
	return never, again
}

// producers publish events until stop, each again under its id until it is acknowledged, at whatever ingest answers.
type producers struct {
	clients []pb.IngestServiceClient
	key     string
	every   time.Duration

	mu     sync.Mutex
	acked  []string // event ids
	faults atomic.Int64
}

func newProducers(t *testing.T, key string, every time.Duration, addrs ...string) *producers {
	t.Helper()
	p := &producers{key: key, every: every}
	for _, addr := range addrs {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		p.clients = append(p.clients, pb.NewIngestServiceClient(conn))
	}
	return p
}

// run publishes from n callers until ctx ends, and returns when each has had its last answer.
func (p *producers) run(ctx context.Context, n int) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				p.publish(i)
				select {
				case <-time.After(p.every):
				case <-ctx.Done():
				}
			}
		})
	}
	all.Wait()
}

// publish publishes an event until it is acknowledged.
func (p *producers) publish(i int) {
	e := &pb.Event{
		Id: uuid.NewString(), Type: fmt.Sprintf("upgrade.%d", i%3), ExternalReference: fmt.Sprint("order-", i%50),
		Attributes: map[string]string{"n": fmt.Sprint(i)}, Data: fmt.Appendf(nil, `{"n":%d}`, i),
	}
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+p.key), 10*time.Second)
		_, err := p.clients[(i+try)%len(p.clients)].Publish(ctx, &pb.PublishRequest{Event: e})
		cancel()
		if err == nil {
			break
		}
		p.faults.Add(1)
		<-time.After(50 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked = append(p.acked, e.Id)
}

// deliveries are the ids of what webhooks must have got of all that was acknowledged.
func (p *producers) deliveries(webhooks []string) (ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.acked {
		for _, w := range webhooks {
			ids = append(ids, delivery.ID(e, w))
		}
	}
	return ids
}
