package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	benchTenant = "bench"
	// How often a case asks how far the work is, which takes time of the machine that is measured.
	askEvery     = 20 * time.Millisecond
	metricsEvery = 50 * time.Millisecond
	// patience is what work may take beyond what it should before the case gives up.
	patience = time.Minute
)

// hooksAt are webhooks for every event, one at each path of the receiver.
func hooksAt(receiver *Receiver, paths []string) []webhook.Webhook {
	hooks := make([]webhook.Webhook, len(paths))
	for i, path := range paths {
		hooks[i] = newHook(benchTenant, receiver.URL()+"/"+path, "*")
	}
	return hooks
}

// newHook is a webhook as a console writes it to the log, signed for by a key of its own.
func newHook(tenant, url string, types ...string) webhook.Webhook {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never errs
	return webhook.Webhook{
		ID: uuid.NewString(), Tenant: tenant, URL: url, Active: true, Generation: 1, Version: 1, EventTypes: types, CreatedAt: time.Now(),
		SigningKeys: []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Plain(secret)}},
	}
}

// newKey is an API key in clear.
func newKey() string {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never errs
	return auth.NewKey(random)
}

// write produces n records, in order, and returns once the log has them all.
func write(ctx context.Context, client *kgo.Client, n int, record func(i int) (*kgo.Record, error)) error {
	var (
		mu    sync.Mutex
		fault error
	)
	note := func(_ *kgo.Record, err error) {
		if err != nil {
			mu.Lock()
			fault = err
			mu.Unlock()
		}
	}
	for i := range n {
		r, err := record(i)
		if err != nil {
			return err
		}
		client.Produce(ctx, r, note)
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("fill the log: %w", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if fault != nil {
		return fmt.Errorf("fill the log: %w", fault)
	}
	return nil
}

// writeHooks writes webhooks to the log and returns where the last one stands.
func writeHooks(ctx context.Context, log *Log, hooks []webhook.Webhook) (last delivery.Position, err error) {
	var r *kgo.Record
	err = write(ctx, log.Client, len(hooks), func(i int) (*kgo.Record, error) {
		var err error
		r, err = wire.Webhook(log.Topics.Webhooks, hooks[i])
		return r, err
	})
	if err != nil {
		return delivery.Position{}, err
	}
	return wire.PositionOf(r), nil
}

// backlog is deliveries for a sender.
type backlog struct {
	hooks []webhook.Webhook
	known delivery.Position // of the last webhook on its topic
	n     int
	body  []byte
}

// fill writes the backlog, the webhooks' deliveries in turn.
func (b backlog) fill(ctx context.Context, log *Log) error {
	now := time.Now()
	return write(ctx, log.Client, b.n, func(i int) (*kgo.Record, error) {
		w, event := b.hooks[i%len(b.hooks)], uuid.NewString()
		id := delivery.ID(event, w.ID)
		return wire.Delivery(log.Topics.Deliveries, delivery.Delivery{
			ID: id, Tenant: w.Tenant, EventID: event, EventType: "bench.delivery", WebhookID: w.ID, WebhookPosition: b.known,
			RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: now, Body: b.body, ContentType: "application/json",
		})
	})
}

// written is how many records a topic has taken, the markers of transactions included.
func written(ctx context.Context, log *Log, topic string) (int64, error) {
	ends, err := kafka.NewAdmin(log.Client).EndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return 0, fmt.Errorf("end of %s: %w", topic, err)
	}
	var n int64
	for _, partitions := range ends {
		for _, end := range partitions {
			n += end.Offset
		}
	}
	return n, nil
}

// await asks every so often until it is done. It errs if that takes longer than within; what says what was waited for.
func await(ctx context.Context, every, within time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// pause waits for d. It errs if ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// metric is the sum of a process's metric over all its labels that match, e.g. `table="attempts"`; 0 if there is none yet.
func metric(ctx context.Context, p *Process, name string, labels ...string) (float64, error) {
	body, err := get(ctx, p, "/metrics")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	sum, err := sumMetric(body, name, labels...)
	if err != nil {
		return 0, fmt.Errorf("metric %s of %s: %w", name, p.Name, err)
	}
	return sum, nil
}

// sumMetric reads Prometheus' text format.
func sumMetric(r io.Reader, name string, labels ...string) (sum float64, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		series, value, found := strings.Cut(lines.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); !found || base != name || !hasAll(series, labels) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, lines.Err()
}

func hasAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// get asks a process's admin address. The caller closes the body.
func get(ctx context.Context, p *Process, path string) (io.ReadCloser, error) {
	addr := p.admin
	if strings.HasPrefix(path, "/debug/pprof/") {
		addr = p.pprof
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", p.Name, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("ask %s for %s: it answers %d", p.Name, path, resp.StatusCode)
	}
	return resp.Body, nil
}

// exactly errs unless each of want deliveries has arrived once.
func exactly(got Received, want int64) error {
	var count int64
	for name, path := range got.Paths {
		if name != probePath {
			count += path.Count
		}
	}
	if count != want || got.Repeated != 0 {
		return fmt.Errorf("%d deliveries were to arrive once each: %d POSTs came, %d of them again", want, count, got.Repeated)
	}
	return nil
}
