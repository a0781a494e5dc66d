package away

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/e2e/fault"
)

const (
	rate     = 40  // events published a second
	types    = 5   // the last is rare
	twice    = 10  // one event of so many is published twice, a second apart
	deadRate = 40  // events a second for a webhook that always fails
	deadMost = 240 // in all
)

// hooks take the load: most accept, one is slow, one refuses each delivery twice. That one gets few, or what waited for
// it while a store was away would disable it.
func hooks() []fault.Hook {
	out := []fault.Hook{{Types: []int{0}}, {Types: []int{1}}, {Types: []int{2}}, {Types: []int{3}}, {Types: []int{1}}, {Types: []int{4}}}
	out[4].Delays = 200 * time.Millisecond
	out[5].Fails = 2
	return out
}

// perEvent is how many deliveries an event makes.
const perEvent = 1.25

func typeOf(event string) int {
	n, _ := strconv.Atoi(event[strings.LastIndexByte(event, '-')+1:])
	if n%rate == 0 {
		return types - 1
	}
	return n % (types - 1)
}

func administrators() []string { return []string{"away-one", "away-two"} }

// acked is an event's first acknowledgement.
type acked struct {
	event string
	at    time.Time
}

// refusal is a publish that was not acknowledged.
type refusal struct {
	at   time.Time
	code codes.Code
	took time.Duration
}

// dead is a webhook whose receiver answers 500 to everything.
type dead struct {
	name, id string
	posts    int
}

// receive starts the receivers, which note every POST.
func (w *world) receive() {
	all := hooks()
	var mu sync.Mutex
	seen := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		arrived := time.Now()
		if strings.HasPrefix(r.URL.Path, "/dead/") {
			w.mu.Lock()
			w.dead[r.URL.Path].posts++
			w.mu.Unlock()
			out.WriteHeader(http.StatusInternalServerError)
			return
		}
		hook, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/hook/"))
		id, event := r.Header.Get("Webhook-Id"), r.Header.Get("Doorstep-Event-Id")
		mu.Lock()
		seen[id]++
		n := seen[id]
		mu.Unlock()
		status := http.StatusNoContent
		if n <= all[hook].Fails {
			status = http.StatusInternalServerError
		}
		w.history.Post(fault.Post{Delivery: id, Event: event, Hook: hook, Body: sha256.Sum256(body), At: arrived, Status: status})
		w.mu.Lock()
		if _, known := w.posted[delivered{event, hook}]; !known {
			w.posted[delivered{event, hook}] = arrived
		}
		w.mu.Unlock()
		time.Sleep(all[hook].Delays) // a slow receiver
		out.WriteHeader(status)
	}))
	w.t.Cleanup(server.Close)
	w.target = server.URL
}

// produce publishes events until ctx ends, each again with its id until it is acknowledged.
func (w *world) produce(ctx context.Context) {
	var n atomic.Int64
	var publishing sync.WaitGroup
	defer publishing.Wait()
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	slots := make(chan struct{}, 200) // events under way
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		slots <- struct{}{}
		publishing.Go(func() {
			defer func() { <-slots }()
			w.publishOne(int(n.Add(1)))
		})
	}
}

func (w *world) publishOne(n int) {
	id, body := fmt.Sprintf("event-%d", n), fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat("x", n%700))
	e := &pb.Event{Id: id, Type: fmt.Sprintf("away.t%d", typeOf(id)), ExternalReference: fmt.Sprint("card-", n%97), Data: []byte(body)}
	ack := fault.Ack{Event: id, Body: sha256.Sum256([]byte(body)), At: w.publish(e)}
	w.history.Ack(ack)
	w.mu.Lock()
	w.acked = append(w.acked, acked{id, ack.At})
	w.mu.Unlock()
	if n%twice == 0 {
		time.Sleep(time.Second) // a producer that was not sure
		ack.At = w.publish(e)
		w.history.Ack(ack)
	}
}

// publish returns when the event was acknowledged.
func (w *world) publish(e *pb.Event) time.Time {
	for {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+apiKey)
		_, err := pb.NewIngestServiceClient(w.ingest).Publish(ctx, &pb.PublishRequest{Event: e})
		cancel()
		now := time.Now()
		if err == nil {
			return now
		}
		w.mu.Lock()
		w.refused = append(w.refused, refusal{now, status.Code(err), now.Sub(began)})
		w.mu.Unlock()
		time.Sleep(500 * time.Millisecond) // before the producer's next try
	}
}

// newDead registers a webhook that will fail, before the store goes that its registration needs.
func (w *world) newDead(i int) *dead {
	d := &dead{name: fmt.Sprintf("dead%d", i)}
	w.mu.Lock()
	w.dead["/dead/"+fmt.Sprint(i)] = d
	w.mu.Unlock()
	d.id = w.webhook(d.name, "/dead/"+fmt.Sprint(i), "away."+d.name)
	return d
}

// fail publishes events for a webhook that always fails, until ctx ends or it has been enough.
func (w *world) fail(ctx context.Context, d *dead) {
	tick := time.NewTicker(time.Second / deadRate)
	defer tick.Stop()
	var publishing sync.WaitGroup
	defer publishing.Wait()
	for i := range deadMost {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e := &pb.Event{Id: fmt.Sprintf("%s-event-%d", d.name, i), Type: "away." + d.name, Data: []byte(`{}`)}
		publishing.Go(func() { w.publish(e) })
	}
}

// mailsOf counts the mails about a webhook in the administrators' mailboxes, by address and kind.
func (w *world) mailsOf(d *dead) map[string]int {
	out := map[string]int{}
	for _, a := range administrators() {
		for _, text := range w.mails.Mails(w.t, a) {
			subject := ""
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "Subject: ") {
					subject = line
					break
				}
			}
			if !strings.Contains(subject, `"`+d.name+`"`) {
				continue
			}
			kind := "warning"
			if strings.Contains(subject, "disabled") {
				kind = "disabled"
			}
			out[a+" "+kind]++
		}
	}
	return out
}
