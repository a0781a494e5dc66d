package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// How the outbox is drained. A change of this console is seen at once, of another within the poll.
const (
	outboxLock  = "outbox"
	outboxWork  = "outbox" // its transactional id, under the topic prefix
	outboxBatch = 500
	outboxPoll  = 250 * time.Millisecond
	outboxRetry = 250 * time.Millisecond
)

// drainer carries changes from SQL into the compacted topics.
type drainer struct {
	cfg     kafka.Config
	topics  wire.Topics
	store   *sqlstore.Store
	log     *slog.Logger
	records prometheus.Counter
	faults  prometheus.Counter
}

// run drains until ctx ends. Whatever fails is tried again, from the lock on: SQL and brokers may be
// away for any time. One drainer of all consoles works; the others wait for its lock.
func (d *drainer) run(ctx context.Context) {
	failing := false
	for {
		err := d.hold(ctx, func() {
			if failing {
				d.log.Info("outbox is drained again")
			}
			failing = false
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			d.faults.Inc()
			if !failing {
				d.log.Warn("outbox cannot be drained; trying again", "error", err)
			}
			failing = true
		}
		if !wait(ctx, outboxRetry, nil) {
			return
		}
	}
}

// hold drains for as long as it has the lock, and calls works after each batch. It returns nil at
// once if another has the lock.
func (d *drainer) hold(ctx context.Context, works func()) error {
	lock, held, err := d.store.TryLock(ctx, outboxLock)
	if err != nil || !held {
		return err
	}
	defer lock.Release()
	client, err := newSoleProducer(ctx, d.cfg, d.log, outboxWork, d.topics.Webhooks, d.topics.Settings)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		if err := lock.Held(ctx); err != nil {
			return err
		}
		n, err := d.drain(ctx, client)
		if err != nil {
			return err
		}
		works()
		if n < outboxBatch && !wait(ctx, outboxPoll, d.store.Changed()) {
			return nil
		}
	}
}

// drain writes one batch of changes in one transaction, then deletes their rows, and returns how many
// they were. A batch whose rows could not be deleted is written again: with values as new or newer.
func (d *drainer) drain(ctx context.Context, client *kgo.Client) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	changes, err := d.store.Changes(ctx, outboxBatch)
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	current, err := d.store.Current(ctx, changes)
	if err != nil {
		return 0, err
	}
	records := make([]*kgo.Record, 0, len(current))
	for _, c := range current {
		r, err := d.record(c)
		if err != nil {
			// Never to be written, so it must not hold up what can be.
			d.log.Error("change left out", "kind", c.Kind, "key", c.Key, "error", err)
			continue
		}
		records = append(records, r)
	}
	if err := inTransaction(ctx, client, records); err != nil {
		return 0, fmt.Errorf("drain outbox: %w", err)
	}
	if err := d.store.DeleteChanges(ctx, changes); err != nil {
		return 0, err
	}
	d.records.Add(float64(len(records)))
	return len(changes), nil
}

// record is the record of what stands now, or says that it is gone.
func (d *drainer) record(c sqlstore.Current) (*kgo.Record, error) {
	switch {
	case c.Webhook != nil:
		return wire.Webhook(d.topics.Webhooks, *c.Webhook)
	case c.Tenant != nil:
		return wire.Tenant(d.topics.Settings, *c.Tenant)
	case c.APIKey != nil:
		return wire.APIKey(d.topics.Settings, *c.APIKey)
	case c.Administrator != nil:
		return wire.Administrator(d.topics.Settings, *c.Administrator)
	case c.EventType != nil:
		return wire.EventType(d.topics.Settings, *c.EventType)
	}
	switch c.Kind {
	case sqlstore.KindWebhook:
		return wire.Gone(d.topics.Webhooks, c.Key), nil
	case sqlstore.KindTenant:
		return wire.Gone(d.topics.Settings, wire.TenantKey(c.Key)), nil
	case sqlstore.KindAPIKey:
		return wire.Gone(d.topics.Settings, wire.APIKeyKey(c.Key)), nil
	case sqlstore.KindAdministrator:
		return wire.Gone(d.topics.Settings, wire.AdministratorKey(c.Key)), nil
	case sqlstore.KindEventType:
		of, name, _ := strings.Cut(c.Key, "/")
		return wire.Gone(d.topics.Settings, wire.EventTypeKey(of, name)), nil
	default: // the log is not told of it, or a newer program wrote it
	}
	return nil, errors.New("a kind that this program does not know")
}

// wait returns after d or when something is received, and reports false if ctx ended first.
func wait(ctx context.Context, d time.Duration, until <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-until:
	case <-ctx.Done():
		return false
	}
	return true
}
