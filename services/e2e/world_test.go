package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
)

const (
	patience = 30 * time.Second
	key      = "dsk_e2e_0123456789abcdef0123456789abcdef"
)

// world is a Doorstep under test, wherever it runs.
type world struct {
	t     testing.TB
	url   string
	kafka kafka.Config // of the log; no brokers if it cannot be reached from here
	grpc  *grpc.ClientConn
}

// settings are those of a Doorstep in process that may call receivers of this machine.
func settings(t testing.TB, dir string, change func(*app.Config)) app.Config {
	t.Helper()
	cfg, err := app.Default(dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Egress = egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	cfg.Console.BootstrapKey = key
	cfg.Kafka.RetryTiers = "1s,2s,3s"
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// inProcess runs Doorstep in this process, on embedded servers, until stop is called or the test ends.
func inProcess(t testing.TB, cfg app.Config) (w *world, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("doorstep ended with %v", err)
		}
	}
	t.Cleanup(stop)
	ready, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := a.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
	t.Log("servers: embedded, in process")
	return connect(t, a.URL(), a.GRPC(), a.Kafka()), stop
}

// connect is a world at addresses.
func connect(t testing.TB, url, grpcAddr string, log kafka.Config) *world {
	t.Helper()
	conn, err := grpc.NewClient(grpcAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &world{t: t, url: url, kafka: log, grpc: conn}
}

// embedded is a Doorstep of the test's own on embedded servers.
func embedded(t testing.TB, change func(*app.Config)) *world {
	t.Helper()
	w, _ := inProcess(t, settings(t, t.TempDir(), change))
	return w
}

// publish publishes an event over gRPC and returns its id.
func (w *world) publish(e *pb.Event) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	resp, err := pb.NewIngestServiceClient(w.grpc).Publish(ctx, &pb.PublishRequest{Event: e})
	return resp.GetEventId(), err
}

func (w *world) mustPublish(e *pb.Event) string {
	w.t.Helper()
	id, err := w.publish(e)
	if err != nil {
		w.t.Fatalf("publish: %v", err)
	}
	return id
}

// rest makes a REST call and decodes the answer's data into out, if given.
func (w *world) rest(method, path string, in, out any) int {
	w.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			w.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, w.url+"/api/v1/"+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(b, &struct{ Data any }{out}); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, b)
		}
	}
	if resp.StatusCode >= 400 {
		w.t.Logf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	return resp.StatusCode
}

// hook is a registered webhook.
type hook struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// register registers a webhook for url; fields add to or replace what it sends.
func (w *world) register(url string, fields map[string]any) hook {
	w.t.Helper()
	in := map[string]any{"url": url, "event_types": []string{"*"}}
	maps.Copy(in, fields)
	var h hook
	if status := w.rest(http.MethodPost, "webhooks", in, &h); status != http.StatusCreated {
		w.t.Fatalf("webhook not registered: status %d", status)
	}
	return h
}

// inForce returns when every change of a webhook made before it is promised to be in force.
func inForce() { time.Sleep(time.Second) }

// attempts are the attempts that stand in the log, of one webhook.
func (w *world) attempts(h hook) []delivery.Attempt {
	w.t.Helper()
	topics, err := w.kafka.Topics()
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := w.kafka.NewClient("e2e", slog.New(slog.DiscardHandler), kgo.ConsumeTopics(topics.Attempts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(20*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics.Attempts)
	if err != nil {
		w.t.Fatal(err)
	}
	left := map[int32]bool{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = true
		}
	})
	var out []delivery.Attempt
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			a, err := wire.ReadAttempt(r)
			if err != nil {
				w.t.Fatal(err)
			}
			if a.WebhookID == h.ID {
				out = append(out, a)
			}
			if end, _ := ends.Lookup(r.Topic, r.Partition); r.Offset+1 >= end.Offset {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

// settled waits until the last of n attempts of a webhook has the given status.
func (w *world) settled(h hook, n int, status delivery.Status) []delivery.Attempt {
	w.t.Helper()
	var got []delivery.Attempt
	testkit.Eventually(w.t, patience, func() error {
		got = w.attempts(h)
		if len(got) != n || got[n-1].Status != status {
			return fmt.Errorf("%d attempts of %d, the last not %s: %+v", len(got), n, status, got)
		}
		return nil
	})
	return got
}

// to waits for n requests to a path of a receiver.
func to(t testing.TB, r *testkit.Receiver, path string, n int) []testkit.Received {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := len(r.RequestsTo(path)); got < n {
			return fmt.Errorf("%d requests to %s, want %d", got, path, n)
		}
		return nil
	})
	return r.RequestsTo(path)
}

// verify checks a request's signature with the webhook's secret.
func verify(t testing.TB, h hook, r testkit.Received) {
	t.Helper()
	secret, err := signature.ParseSecret(h.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := signature.Verify([]signature.Secret{secret}, signature.HeadersOf(r.Header), r.Body, time.Now(), 5*time.Minute); err != nil {
		t.Errorf("signature: %v", err)
	}
}
