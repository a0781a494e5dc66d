package bench

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/embedded"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/sender"
)

// drain is the sender with everything on, emptying a backlog of deliveries in the embedded log.
type drain struct {
	cfg     Config
	target  *target
	servers *embedded.Servers
	kafka   kafka.Config
	topics  wire.Topics
	client  *kgo.Client
	hooks   []webhook.Webhook
	at      delivery.Position // of the last webhook
	made    int
}

func newDrain(ctx context.Context, cfg Config, t *target) (d *drain, err error) {
	d = &drain{cfg: cfg, target: t}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.servers, err = embedded.Open(ctx, embedded.Config{Dir: cfg.Dir, Log: true, Redis: true, LogMaxBytes: 4 << 30}); err != nil {
		return d, err
	}
	d.kafka = kafka.Config{Brokers: d.servers.Brokers(), TopicPrefix: "bench.", RetryTiers: "1m,5m,60m", Embedded: true}
	if d.topics, err = d.kafka.Topics(); err != nil {
		return d, err
	}
	if d.client, err = d.kafka.NewClient("bench", cfg.Logger); err != nil {
		return d, err
	}
	if err := kafka.Apply(ctx, kadm.NewClient(d.client), d.topics, kafka.EmbeddedTopics()); err != nil {
		return d, err
	}
	for i := range cfg.Webhooks {
		w := webhook.Webhook{
			ID: uuid.NewString(), Tenant: "bench", URL: fmt.Sprintf("%s/%d", t.url, i), Active: true, Generation: 1, Version: 1, EventTypes: []string{"*"},
			SigningKeys: []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: webhook.PlainKeyID, Bytes: make([]byte, 32)}}},
		}
		d.hooks = append(d.hooks, w)
		r, err := wire.Webhook(d.topics.Webhooks, w)
		if err != nil {
			return d, err
		}
		if err := d.client.ProduceSync(ctx, r).FirstErr(); err != nil {
			return d, err
		}
		d.at = wire.PositionOf(r)
	}
	return d, nil
}

func (d *drain) close() {
	if d.client != nil {
		d.client.Close()
	}
	if d.servers != nil {
		d.servers.Close()
	}
}

// fill writes the backlog.
func (d *drain) fill(ctx context.Context) error {
	payload := body(d.cfg.BodyBytes)
	records := make([]*kgo.Record, d.cfg.Deliveries)
	for i := range records {
		w := d.hooks[i%len(d.hooks)]
		event := uuid.NewString()
		id := delivery.ID(event, w.ID)
		r, err := wire.Delivery(d.topics.Deliveries, delivery.Delivery{
			ID: id, Tenant: w.Tenant, EventID: event, EventType: "bench.delivery", WebhookID: w.ID, WebhookPosition: d.at,
			RunID: delivery.FirstRunID(id), Cause: delivery.CauseFirst, Attempt: 1, ReceivedAt: time.Now(),
			Body: payload, ContentType: "application/json",
		})
		if err != nil {
			return err
		}
		records[i] = r
	}
	return d.client.ProduceSync(ctx, records...).FirstErr()
}

// run fills the log, then measures from the first POST until the last attempt stands in the log.
func (d *drain) run(ctx context.Context) (Measure, error) {
	if err := d.fill(ctx); err != nil {
		return Measure{}, err
	}
	s, err := sender.New(sender.Config{
		Kafka: d.kafka, Redis: redisstate.Config{URL: d.servers.RedisURL(), Prefix: "bench:"},
		Egress:      egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true},
		MaxInFlight: 2048, MaxQueued: 20_000, KeepAnswerBytes: 4096, WarnAfter: 250, DisableAfter: 500,
	}, d.cfg.Logger, prometheus.NewRegistry())
	if err != nil {
		return Measure{}, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	before := d.target.got.Load()
	go func() { ended <- s.Run(running) }()
	for d.target.got.Load() == before && ctx.Err() == nil {
		time.Sleep(100 * time.Microsecond)
	}
	watch := start()
	d.made += d.cfg.Deliveries
	for ctx.Err() == nil {
		if n, err := d.attempts(ctx); err != nil || n >= int64(d.made) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	m := watch.stop(d.cfg.Deliveries)
	stop()
	if err := <-ended; err != nil {
		return m, err
	}
	if got := d.target.got.Load() - before; got != int64(d.cfg.Deliveries) {
		return m, fmt.Errorf("%d POSTs for %d deliveries", got, d.cfg.Deliveries)
	}
	return m, ctx.Err()
}

// attempts is how many attempts stand in the log.
func (d *drain) attempts(ctx context.Context) (n int64, err error) {
	ends, err := kadm.NewClient(d.client).ListEndOffsets(ctx, d.topics.Attempts)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, ends.Error()
}
