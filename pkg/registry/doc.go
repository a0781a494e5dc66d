// Package registry keeps what the compacted topics `webhooks`, `settings` and `states` say in memory: the
// webhooks with their failure states, and the tenants, API keys, administrators and event types.
//
// A reader follows the topic from its start with a client of its own; it is ready once it has read
// what was there when it began, and from then on behind the log by the time of one fetch. What it
// returns is shared by all callers: maps and slices in it must not be changed.
//
// The last record of a key wins, without a look at its version. That is right because the records
// of a key come from one drainer in the order in which SQL committed them, and because both topics
// have a single partition for ever (pkg/kafka sees to it): the newest is the last. Versions could
// not decide it, since a tombstone has none. A whole republication at the start of a console
// repeats the newest version and changes nothing.
package registry

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Option adds a callback to a reader. Callbacks run on the goroutine that follows the topic: while
// one runs, nothing else is applied.
type Option func(*options)

type options struct {
	onChange   func(w webhook.Webhook, gone bool, at delivery.Position)
	quarantine func(*kgo.Record, error)
	passOn     bool
}

// OnChange is called for every record of `webhooks`, in order, once Get gives it and before
// Applied and Wait say so. Of a webhook that is gone only the ID is set.
func OnChange(f func(w webhook.Webhook, gone bool, at delivery.Position)) Option {
	return func(o *options) { o.onChange = f }
}

// PassOn keeps no webhooks, so that Get finds none: for who keeps what it needs of them from OnChange.
func PassOn() Option {
	return func(o *options) { o.passOn = true }
}

// Quarantine is called for a record that cannot be read; what its key held before stays. Without
// it, a warning with the record's position is logged.
func Quarantine(f func(*kgo.Record, error)) Option {
	return func(o *options) { o.quarantine = f }
}

func newOptions(log *slog.Logger, opts []Option) options {
	o := options{quarantine: func(r *kgo.Record, err error) {
		log.Warn("record cannot be read", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
	}}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// reader is a follower of one topic that waits for it to exist.
type reader struct {
	*kafka.Follower
	cfg   kafka.Config
	id    string
	log   *slog.Logger
	topic string
}

func newReader(cfg kafka.Config, id string, log *slog.Logger, topic string, apply func(*kgo.Record)) (*reader, error) {
	follower, err := kafka.NewFollower(cfg, id, log, apply, topic)
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", topic, err)
	}
	return &reader{Follower: follower, cfg: cfg, id: id, log: log, topic: topic}, nil
}

// Run follows the topic until ctx ends; it waits for brokers that are away and for a topic that is
// not there yet.
func (r *reader) Run(ctx context.Context) error {
	if err := kafka.AwaitTopics(ctx, r.cfg, r.id, r.log, r.topic); err != nil && ctx.Err() == nil {
		return err
	}
	return r.Follower.Run(ctx) // also closes the client once ctx has ended
}

// names are the topics of the settings.
func names(cfg kafka.Config) (wire.Topics, error) {
	topics, err := cfg.Topics()
	if err != nil {
		return wire.Topics{}, fmt.Errorf("registry: %w", err)
	}
	return topics, nil
}
