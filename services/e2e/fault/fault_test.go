package fault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

const (
	apiKey  = "dsk_fault_0123456789abcdef0123456789abcdef"
	types   = 10
	healing = 4 * time.Minute // for everything to be delivered once all is healed
)

func replicas() map[string]int {
	return map[string]int{"console": 2, "ingest": 2, "matcher": 2, "notifier": 2, "recorder": 2, "sender": 3}
}

// hooks are 20 webhooks, each type wanted by two: most accept at once, two refuse each delivery
// twice, two are slow.
func hooks() []Hook {
	out := make([]Hook, 2*types)
	for i := range out {
		out[i].Types = []int{i % types}
		switch i {
		case 7, 16:
			out[i].Fails = 2
		case 8, 19:
			out[i].Delays = 200 * time.Millisecond
		}
	}
	return out
}

func typeOf(event string) int {
	n, _ := strconv.Atoi(event[strings.LastIndexByte(event, '-')+1:])
	return n % types
}

// TestFaults runs for FAULT_TIME (e.g. 15m) with FAULT_RATE events a second and the plan of TEST_SEED.
func TestFaults(t *testing.T) {
	total, err := time.ParseDuration(os.Getenv("FAULT_TIME"))
	if err != nil {
		t.Skip("FAULT_TIME says how long to run, e.g. 15m: make fault")
	}
	rate := 100
	if s := os.Getenv("FAULT_RATE"); s != "" {
		if rate, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t)
	seed := testkit.Random(t).Uint64()
	steps := plan(seed, total, replicas(), 3)
	if only := os.Getenv("FAULT_ONLY"); only != "" { // to look at one kind, e.g. "broker"
		steps = slices.DeleteFunc(plan(seed, 10*total, replicas(), 3), func(s step) bool { return !strings.Contains(s.String(), only) })
	}

	ctx, stop := context.WithCancel(context.Background())
	var producing sync.WaitGroup
	producing.Go(func() { w.produce(ctx, rate) })
	w.warm(rate)
	e := executor{cluster: w.cluster, servers: w.servers, history: &w.history}
	began := time.Now()
	for _, s := range steps {
		if time.Since(began) > total {
			break
		}
		time.Sleep(s.after)
		acks, posts := w.history.Counts()
		t.Logf("%s %s (%d events, %d POSTs)", time.Since(began).Round(time.Second), s, acks, posts)
		if err := e.do(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		for _, p := range w.cluster.Processes {
			if p.Exited() {
				t.Errorf("%s has ended by itself", p.Name)
				if err := p.Start(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stop()
	producing.Wait()
	ready, cancel := context.WithTimeout(context.Background(), healing)
	defer cancel()
	if err := w.cluster.Ready(ready); err != nil {
		t.Fatal(err)
	}
	rules := Rules{
		Hooks: hooks(), Tiers: []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}, TypeOf: typeOf,
		Slack: 50 * time.Millisecond, Warm: began,
	}
	var report Report
	for deadline := time.Now().Add(healing); ; time.Sleep(time.Second) {
		report = Check(&w.history, rules)
		if len(report.Lost) == 0 || time.Now().After(deadline) {
			break
		}
	}
	time.Sleep(10 * time.Second) // for repeats that are still to come from the tiers
	reading, cancel := context.WithTimeout(context.Background(), healing)
	defer cancel()
	if w.history.Records, err = w.commits.Records(reading, w.hookOf); err != nil {
		t.Fatal(err)
	}
	report = Check(&w.history, rules)
	t.Logf("%d disturbances in %s: %s", len(steps), time.Since(began).Round(time.Second), report)
	if !report.OK() {
		t.Error("not every promise was kept")
	}
	w.audit()
	if err := w.cluster.Stop(); err != nil {
		t.Error(err)
	}
}

// world is a cluster on servers of its own, with receivers and a history.
type world struct {
	t       *testing.T
	servers *cluster.Local
	cluster *cluster.Cluster
	history History
	commits *Commits
	target  string
	hookOf  map[string]int // by webhook id
	conns   []*grpc.ClientConn
}

func start(t *testing.T) *world {
	t.Helper()
	servers, err := cluster.StartLocal("--brokers", "3", "kafka", "redis", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := servers.Down(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, servers: servers, hookOf: map[string]int{}}
	w.receive()
	bin, err := cluster.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	logs := os.Getenv("FAULT_LOGS")
	if logs == "" {
		logs = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	w.cluster, err = cluster.Start(ctx, cluster.Config{
		Program: bin, Dir: logs, Servers: servers.Servers(), Key: apiKey, Replicas: replicas(),
		Env: map[string]string{
			"DOORSTEP_ALLOW_NETWORKS": "127.0.0.0/8", "DOORSTEP_ALLOW_HTTP": "true", "DOORSTEP_RETRY_TIERS": retryTiers,
			"DOORSTEP_WARN_AFTER": "999999", "DOORSTEP_DISABLE_AFTER": "1000000",
		},
	})
	if w.cluster != nil {
		t.Cleanup(w.cluster.Kill)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("servers: Apache Kafka of 3 brokers, Redis, PostgreSQL as processes; %v as processes", replicas())
	if w.commits, err = FollowCommits(strings.Split(servers.Servers().Kafka, ",")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.commits.Close)
	w.register()
	for _, p := range w.cluster.Of("ingest") {
		conn, err := grpc.NewClient(p.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		w.conns = append(w.conns, conn)
	}
	return w
}

// receive starts the receivers, which note every POST.
func (w *world) receive() {
	all := hooks()
	var mu sync.Mutex
	seen := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		arrived := time.Now()
		hook, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		id := r.Header.Get("Webhook-Id")
		if err != nil {
			return
		}
		mu.Lock()
		seen[id]++
		n := seen[id]
		mu.Unlock()
		status := http.StatusNoContent
		if n <= all[hook].Fails {
			status = http.StatusServiceUnavailable
		}
		w.history.Post(Post{id, r.Header.Get("Doorstep-Event-Id"), hook, sha256.Sum256(body), arrived, status})
		time.Sleep(all[hook].Delays) // a slow receiver
		out.WriteHeader(status)
	}))
	w.t.Cleanup(server.Close)
	w.target = server.URL
}

func (w *world) register() {
	w.t.Helper()
	for i, h := range hooks() {
		body, err := json.Marshal(map[string]any{"url": fmt.Sprintf("%s/%d", w.target, i), "event_types": []string{fmt.Sprintf("fault.t%d", h.Types[0])}})
		if err != nil {
			w.t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, "http://"+w.cluster.Of("console")[0].Addr+"/api/v1/webhooks", bytes.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+apiKey)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			w.t.Fatalf("register: %d %s", resp.StatusCode, b)
		}
		var made struct{ Data struct{ ID string } }
		if err := json.Unmarshal(b, &made); err != nil {
			w.t.Fatal(err)
		}
		w.hookOf[made.Data.ID] = i
	}
	time.Sleep(2 * time.Second) // for the webhooks to be in force
}

// warm returns once the receivers get what is published within a second: a broker that was just started
// is slow until its code is compiled.
func (w *world) warm(rate int) {
	w.t.Helper()
	testkit.Eventually(w.t, 2*time.Minute, func() error {
		acks, posts := w.history.Counts()
		if late := 2*acks - posts; acks < 10*rate || late > 2*rate { // each event goes to two webhooks
			return fmt.Errorf("%d events are acknowledged, %d POSTs came", acks, posts)
		}
		return nil
	})
}

// produce publishes events at a rate until ctx ends, each again with its id until it is acknowledged.
func (w *world) produce(ctx context.Context, rate int) {
	var n atomic.Int64
	var workers sync.WaitGroup
	defer workers.Wait()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	slots := make(chan struct{}, 500) // events under way
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		slots <- struct{}{}
		workers.Go(func() {
			w.publish(int(n.Add(1)))
			<-slots
		})
	}
}

func (w *world) publish(n int) {
	id, body := fmt.Sprintf("event-%d", n), fmt.Sprintf(`{"n":%d,"text":"%s"}`, n, strings.Repeat("x", n%700))
	e := &pb.Event{Id: id, Type: fmt.Sprintf("fault.t%d", n%types), ExternalReference: fmt.Sprint("card-", n%97), Data: []byte(body)}
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+apiKey)
		_, err := pb.NewIngestServiceClient(w.conns[(n+try)%len(w.conns)]).Publish(ctx, &pb.PublishRequest{Event: e})
		cancel()
		if err == nil {
			w.history.Ack(Ack{id, sha256.Sum256([]byte(body)), time.Now()})
			return
		}
		time.Sleep(100 * time.Millisecond) // before the producer's next try
	}
}
