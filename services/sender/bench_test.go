package sender_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// BenchmarkDrain empties a backlog, with everything on, beside a bare net/http loop that signs and
// POSTs the same bytes to the same receiver, in turns: each iteration is a round of both.
//
//	go test -run '^$' -bench Drain -benchtime 5x ./services/sender
//
// Receiver and broker are processes of their own, so that the test process is the sender alone. Metrics are medians:
// rates in 1/s, CPU in microseconds for each delivery by process, and "ratio", the drain's rate over the loop's of
// the same round. BENCH_N is the deliveries of a round (20,000), BENCH_WEBHOOKS the webhooks (10), BENCH_PROFILE a
// folder for CPU profiles of the drains. TEST_KAFKA names a real broker.
func BenchmarkDrain(b *testing.B) {
	n, hooks := envInt("BENCH_N", 20_000), envInt("BENCH_WEBHOOKS", 10)
	receiver := startChild(b, "receiver")
	brokers, log := os.Getenv("TEST_KAFKA"), (*child)(nil)
	if brokers == "" {
		log = startChild(b, "log")
		brokers = log.serves
	}
	r := newRigAt(b, "1m,5m,60m", strings.Split(brokers, ","))
	r.cfg.MaxInFlight, r.cfg.MaxQueued, r.cfg.KeepAnswerBytes, r.cfg.WarnAfter, r.cfg.DisableAfter = 4096, 20_000, 4096, 250, 500
	var all []webhook.Webhook
	for i := range hooks {
		all = append(all, r.webhook(fmt.Sprintf("%s/%d", receiver.serves, i), nil))
	}
	signer, err := signature.NewSigner(signature.Key{Secret: signature.NewSecret([32]byte{1})})
	if err != nil {
		b.Fatal(err)
	}
	median := map[string][]float64{}
	for round := range b.N {
		bare := measure(n, receiver, log)
		bareLoop(b, receiver.serves, signer, n)
		bare.stop()
		posted := measure(n, receiver, log)
		postLoop(b, receiver.serves, signer, n)
		posted.stop()
		drain := r.drainBacklog(b, all, n, round, receiver, log)
		b.Logf("bare %v | post %v | drain %v | ratio %.2f", bare, posted, drain, drain.rate/bare.rate)
		for name, v := range map[string]float64{
			"ratio": drain.rate / bare.rate, "bare/s": bare.rate, "drain/s": drain.rate,
			"bare-us": bare.own, "bare-receiver-us": bare.receiver, "post-us": posted.own, "drain-us": drain.own, "drain-receiver-us": drain.receiver, "drain-log-us": drain.log,
		} {
			median[name] = append(median[name], v)
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, values := range median {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], name)
	}
}

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// drainBacklog writes a backlog, then measures a sender from its first attempts until the last stands in the log.
func (r *rig) drainBacklog(b *testing.B, hooks []webhook.Webhook, n, round int, receiver, log *child) *measured {
	before := r.attemptCount()
	r.backlog(hooks, n)
	tuned, endTuning := context.WithCancel(b.Context())
	var tuning sync.WaitGroup
	tuning.Go(func() { process.TuneGC(tuned) }) // as every process does
	defer tuning.Wait()
	defer endTuning()
	stop := r.start("bench")
	defer stop()
	for r.attemptCount() == before {
		time.Sleep(time.Millisecond)
	}
	if dir := os.Getenv("BENCH_PROFILE"); dir != "" {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("drain-%d.pprof", round)))
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			b.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	first := r.attemptCount()
	m := measure(n-int(first-before), receiver, log)
	for r.attemptCount() < before+int64(n) {
		time.Sleep(5 * time.Millisecond)
	}
	m.stop()
	return m
}

func (r *rig) backlog(hooks []webhook.Webhook, n int) {
	records := make([]*kgo.Record, n)
	for i := range records {
		w := hooks[i%len(hooks)]
		event := uuid.NewString()
		id := delivery.ID(event, w.ID)
		var err error
		if records[i], err = wire.Delivery(r.topics.Deliveries, delivery.Delivery{
			ID: id, Tenant: w.Tenant, EventID: event, EventType: "bench.delivery", WebhookID: w.ID, WebhookPosition: r.hooks[w.ID],
			RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: time.Now(),
			Body: body, ContentType: "application/json",
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.client.ProduceSync(r.t.Context(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// attemptCount is how many attempts stand in the log.
func (r *rig) attemptCount() (n int64) {
	ends, err := kadm.NewClient(r.client).ListEndOffsets(r.t.Context(), r.topics.Attempts)
	if err != nil || ends.Error() != nil {
		r.t.Fatal(err, ends.Error())
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// body is 1 KiB of JSON.
var body = []byte(`{"text":"` + strings.Repeat("x", 1013) + `"}`)

// loop calls f n times, 64 at once.
func loop(b *testing.B, n int, f func() error) {
	var left atomic.Int64
	left.Store(int64(n))
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
}

// bareLoop signs and POSTs with nothing around it.
func bareLoop(b *testing.B, url string, signer *signature.Signer, n int) {
	transport := &http.Transport{MaxIdleConns: 64, MaxIdleConnsPerHost: 64, DisableCompression: true}
	defer transport.CloseIdleConnections()
	loop(b, n, func() error { return barePost(transport, url+"/bare", signer) })
}

// postLoop is the same with the sender's own client.
func postLoop(b *testing.B, url string, signer *signature.Signer, n int) {
	client := post.New(post.Config{Egress: loopback})
	defer client.Close()
	loop(b, n, func() error {
		id, now := uuid.NewString(), time.Now()
		out := client.Post(context.Background(), post.Request{URL: url + "/bare", Body: body, ContentType: "application/json", Header: []delivery.Header{
			{Name: delivery.HeaderEventType, Value: "bench.delivery"}, {Name: delivery.HeaderEventID, Value: id}, {Name: signature.HeaderID, Value: id},
			{Name: signature.HeaderTimestamp, Value: signature.Timestamp(now)}, {Name: signature.HeaderSignature, Value: signer.Sign(id, now, body)},
		}})
		if !out.OK() {
			return errors.New(out.Error)
		}
		return nil
	})
}

func barePost(transport *http.Transport, url string, signer *signature.Signer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	id, now := uuid.NewString(), time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(signature.HeaderID, id)
	req.Header.Set(signature.HeaderTimestamp, signature.Timestamp(now))
	req.Header.Set(signature.HeaderSignature, signer.Sign(id, now, body))
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// measured is one run: deliveries in a second, and CPU microseconds for each by process.
type measured struct {
	rate, own, receiver, log float64

	n                        int
	began                    time.Time
	children                 [2]*child
	ownAt, receiverAt, logAt time.Duration
}

func measure(n int, receiver, log *child) *measured {
	return &measured{
		n: n, began: time.Now(), children: [2]*child{receiver, log},
		ownAt: cpuTime(), receiverAt: receiver.cpuTime(), logAt: log.cpuTime(),
	}
}

func (m *measured) stop() {
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(m.n) }
	m.own = each(cpuTime() - m.ownAt)
	m.rate = float64(m.n) / time.Since(m.began).Seconds()
	m.receiver, m.log = each(m.children[0].cpuTime()-m.receiverAt), each(m.children[1].cpuTime()-m.logAt)
}

func (m *measured) String() string {
	return fmt.Sprintf("%.0f/s, %.1f us (own %.1f, receiver %.1f, log %.1f)", m.rate, m.own+m.receiver+m.log, m.own, m.receiver, m.log)
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// child is the test binary run once more, as a receiver or a broker.
type child struct {
	serves string // its address
	tells  string // URL of its CPU time
}

const childEnv = "DOORSTEP_BENCH_CHILD"

func startChild(b *testing.B, role string) *child {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+role, "GOGC=100") // whatever the sender is tried with
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // ends it
		_ = cmd.Wait()
	})
	var at [2]string
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		b.Fatal(err)
	}
	return &child{at[0], at[1]}
}

func (c *child) cpuTime() time.Duration {
	if c == nil {
		return 0
	}
	resp, err := http.Get(c.tells)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	n, _ := strconv.ParseInt(string(text), 10, 64)
	return time.Duration(n)
}

// listen serves on loopback.
func listen(serve http.HandlerFunc) (url string, end func()) {
	server := httptest.NewServer(serve)
	return server.URL, server.Close
}

// runChild is the child's life: it serves until its standard input ends.
func runChild(role string) {
	url, closeTeller := listen(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, int64(cpuTime())) })
	defer closeTeller()
	var serves string
	switch role {
	case "receiver":
		at, closeReceiver := listen(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		defer closeReceiver()
		serves = at
	case "log":
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{
			"default.replication.factor": "1", "group.initial.rebalance.delay.ms": "0",
		}))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		defer c.Close()
		serves = strings.Join(c.ListenAddrs(), ",")
	}
	_ = json.NewEncoder(os.Stdout).Encode([2]string{serves, url})
	_, _ = io.Copy(io.Discard, os.Stdin)
}
