package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Config says where the log is and how its topics are named.
type Config struct {
	Brokers     []string `name:"kafka-brokers" env:"DOORSTEP_KAFKA_BROKERS" help:"Kafka brokers, host:port, comma separated. Empty with 'up': an embedded log."`
	TopicPrefix string   `name:"topic-prefix" env:"DOORSTEP_TOPIC_PREFIX" default:"doorstep." help:"What the names of all topics and groups begin with."`
	RetryTiers  string   `name:"retry-tiers" env:"DOORSTEP_RETRY_TIERS" default:"1m,5m,60m" help:"Delays after the first, second, ... failed attempt; one topic for each."`
	Security    Security `embed:""`
	// Embedded says that the log is the embedded one, whose transactions are not atomic under kill -9.
	Embedded bool `kong:"-"`
	// Failed is called for each connection to a broker that fails, and each request without an answer; nil: nobody counts them.
	Failed func() `kong:"-" json:"-"`
}

// Schedule is the retry schedule of the settings.
func (c Config) Schedule() (retry.Schedule, error) {
	s, err := retry.Parse(c.RetryTiers)
	if err != nil {
		return nil, fmt.Errorf("retry-tiers: %w", err)
	}
	return s, nil
}

// Topics are the names of the settings.
func (c Config) Topics() (wire.Topics, error) {
	s, err := c.Schedule()
	if err != nil {
		return wire.Topics{}, err
	}
	return wire.NewTopics(c.TopicPrefix, s)
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("kafka-brokers: at least one host:port is required")
	}
	if c.Embedded && c.Security != (Security{}) {
		return errors.New("kafka-brokers: is required with kafka-tls and kafka-sasl; the embedded log has neither")
	}
	if err := c.Security.validate(); err != nil {
		return err
	}
	_, err := c.Topics()
	return err
}

// NewClient makes a client with what all of ours share: idempotent produces acknowledged by all
// in-sync replicas, quick reconnects, no topics made by accident. opts override.
func (c Config) NewClient(id string, log *slog.Logger, opts ...kgo.Opt) (*kgo.Client, error) {
	shared, err := c.options(id, log)
	if err != nil {
		return nil, fmt.Errorf("kafka client %s: %w", id, err)
	}
	client, err := kgo.NewClient(append(shared, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client %s: %w", id, err)
	}
	return client, nil
}

// NewTransactSession makes a group member with a transactional producer, with what all of our clients share and nothing more:
// Transact has the rest. opts override.
func (c Config) NewTransactSession(id string, log *slog.Logger, opts ...kgo.Opt) (*kgo.GroupTransactSession, error) {
	shared, err := c.options(id, log)
	if err != nil {
		return nil, fmt.Errorf("kafka session %s: %w", id, err)
	}
	session, err := kgo.NewGroupTransactSession(append(shared, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka session %s: %w", id, err)
	}
	return session, nil
}

// options are what all of our clients share.
func (c Config) options(id string, log *slog.Logger) ([]kgo.Opt, error) {
	security, err := c.Security.options()
	if err != nil {
		return nil, err
	}
	if c.Failed != nil {
		security = append(security, kgo.WithHooks(failures{c.Failed}))
	}
	return append(security,
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID("doorstep-"+id),
		kgo.WithLogger(&clientLog{log: log}),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		// A broker may not have heard yet of a topic that was just made; who writes says how long to wait.
		kgo.UnknownTopicRetries(-1),
		kgo.MaxBufferedRecords(1<<16),
		// Above the largest delivery (256 KiB of data, wrapped) with room for a batch of them.
		kgo.ProducerBatchMaxBytes(maxBatchBytes),
		kgo.RetryBackoffFn(func(fails int) time.Duration { return min(time.Duration(fails)*50*time.Millisecond, time.Second) }),
		kgo.MetadataMinAge(250*time.Millisecond),
		// A fetch answers as soon as there is one byte, else after this long.
		kgo.FetchMaxWait(500*time.Millisecond),
	), nil
}

// maxBatchBytes bounds one produce batch; topics are made with a max.message.bytes above it.
const maxBatchBytes = 1 << 20

// Ping errs if no broker answers within the context, with ErrRefused if the security settings are why.
func Ping(ctx context.Context, client *kgo.Client) error {
	if _, err := heed(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, client.Ping(ctx) }); err != nil {
		return fmt.Errorf("kafka: %w", explain(err))
	}
	return nil
}

// sayAgain is how often the log repeats what a client complains of; with brokers away it does many times a second, of
// every partition.
const sayAgain = 30 * time.Second

// clientLog passes franz-go's warnings and errors to our log; its chatter only at debug.
type clientLog struct {
	log  *slog.Logger
	said told // by message, and by the broker that cannot be reached
}

func (l *clientLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (l *clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	what := msg
	if msg == "unable to open connection to broker" {
		what = fmt.Sprint(keyvals[:min(2, len(keyvals))]...)
	}
	at := slog.LevelDebug
	switch {
	case msg == "unable to initialize sasl": // every connection of every client says so; whoever wanted one gets the error
	case level == kgo.LogLevelError && l.said.due(what, time.Now()):
		at = slog.LevelError
	case level == kgo.LogLevelWarn && l.said.due(what, time.Now()):
		at = slog.LevelWarn
	}
	l.log.Log(context.Background(), at, "kafka: "+msg, keyvals...)
}

// told remembers when something was last said. The zero told has said nothing.
type told struct {
	mu sync.Mutex
	at map[string]time.Time
}

// due reports whether it is time to say something, for the first time or again.
func (t *told) due(what string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, said := t.at[what]; said && now.Sub(last) < sayAgain {
		return false
	}
	if t.at == nil {
		t.at = map[string]time.Time{}
	}
	t.at[what] = now
	return true
}
