package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Defaults of the topics.
const (
	DefaultPartitions  = 12
	EmbeddedPartitions = 4
	maxReplication     = 3
	minInSync          = 2 // where there are at least maxReplication brokers

	// SuspendedRetention is how long the payload of a suspended delivery is kept, at least: then it expires.
	SuspendedRetention = 30 * 24 * time.Hour

	retention           = 7 * 24 * time.Hour
	quarantineRetention = 30 * 24 * time.Hour

	// maxMessageBytes is twice the largest batch of our producers: what a broker counts of a batch is a
	// little more than what a client does.
	maxMessageBytes = 2 * maxBatchBytes

	embeddedSegmentBytes = 16 << 20
)

// TopicOptions say how topics are made.
type TopicOptions struct {
	Partitions   int32 `name:"partitions" help:"Partitions of every lane, of events and of what is recorded; topics that have fewer get more, all at once. 0: as many as the lanes have, else 12."`
	Replication  int16 `name:"replication" help:"Copies of every partition. 0: 3, or one for each broker where there are fewer."`
	SegmentBytes int64 `kong:"-"` // of every topic; 0: the broker's own
}

// EmbeddedTopics are the options for the embedded log: one node, few partitions, and segments
// small enough to be trimmed to the bound of its size.
func EmbeddedTopics() TopicOptions {
	return TopicOptions{Partitions: EmbeddedPartitions, Replication: 1, SegmentBytes: embeddedSegmentBytes}
}

// topicSpec is what a topic must be like.
type topicSpec struct {
	name      string
	lane      bool // read by senders: all of these have the same number of partitions
	single    bool // one partition, for ever
	compacted bool
	retention time.Duration // at least; of topics that are not compacted
}

// specs are all topics. `webhooks`, `settings` and `jobs` are read whole by everyone who reads them
// and written by one drainer, so more partitions would win nothing; with one, the newest record of
// a key is always the last, whereas a key that moves to an added partition would leave its former
// value behind for ever.
func specs(t wire.Topics) []topicSpec {
	var all []topicSpec
	for _, name := range t.Lanes() {
		all = append(all, topicSpec{name: name, lane: true, retention: retention})
	}
	for _, name := range []string{t.Events, t.Attempts, t.Notices} {
		all = append(all, topicSpec{name: name, retention: retention})
	}
	all = append(all, topicSpec{name: t.Suspended, retention: SuspendedRetention})
	all = append(all, topicSpec{name: t.Quarantine, retention: quarantineRetention})
	all = append(all, topicSpec{name: t.States, compacted: true})
	for _, name := range []string{t.Webhooks, t.Settings, t.Jobs} {
		all = append(all, topicSpec{name: name, compacted: true, single: true})
	}
	return all
}

// configs are a topic's settings when it is made.
func (s topicSpec) configs(replication int16, o TopicOptions) map[string]*string {
	c := map[string]*string{
		"max.message.bytes":   new(strconv.Itoa(maxMessageBytes)),
		"min.insync.replicas": new("1"),
	}
	if replication >= maxReplication {
		c["min.insync.replicas"] = new(strconv.Itoa(minInSync))
	}
	if s.compacted {
		c["cleanup.policy"] = new("compact")
	} else {
		c["cleanup.policy"] = new("delete")
		c["retention.ms"] = new(strconv.FormatInt(s.retention.Milliseconds(), 10))
		c["retention.bytes"] = new("-1")
	}
	if o.SegmentBytes > 0 {
		c["segment.bytes"] = new(strconv.FormatInt(o.SegmentBytes, 10))
	}
	return c
}

// Apply makes the topics that are missing, adds partitions where there are fewer than asked for, and
// then checks them all as Check does; it changes nothing else of a topic that is there. It may be
// repeated, and run by several at once.
func Apply(ctx context.Context, adm *kadm.Client, topics wire.Topics, o TopicOptions) error {
	have, err := describe(ctx, adm, topics)
	if err != nil {
		return err
	}
	partitions := have.partitions(topics, o.Partitions)
	replication := o.Replication
	if replication == 0 {
		replication = int16(min(maxReplication, have.brokers)) //nolint:gosec // at most 3
	}
	for _, s := range specs(topics) {
		want := partitions
		if s.single {
			want = 1
		}
		got, exists := have.topics[s.name]
		switch {
		case !exists:
			err = create(ctx, adm, s, want, replication, o)
		case o.Partitions > 0 && got.partitions < want && !s.single:
			err = grow(ctx, adm, s.name, want)
		}
		if err != nil {
			return err
		}
	}
	if o.Partitions == 0 {
		partitions = 0 // none were added, so there is nothing to wait for
	}
	return await(ctx, adm, topics, partitions)
}

func create(ctx context.Context, adm *kadm.Client, s topicSpec, partitions int32, replication int16, o TopicOptions) error {
	_, err := adm.CreateTopic(ctx, partitions, replication, s.configs(replication, o), s.name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s with %d partitions and %d replicas: %w", s.name, partitions, replication, Denied(err))
	}
	return nil
}

func grow(ctx context.Context, adm *kadm.Client, topic string, partitions int32) error {
	answers, err := adm.UpdatePartitions(ctx, int(partitions), topic)
	if err == nil {
		err = answers.Error()
	}
	// Invalid: another has added them meanwhile. What there is now is checked afterwards.
	if err != nil && !errors.Is(err, kerr.InvalidPartitions) {
		return fmt.Errorf("add partitions to topic %s, %d in all: %w", topic, partitions, Denied(err))
	}
	return nil
}

// spreadTime is how long what was made may take to reach all brokers; a busy cluster takes seconds.
const spreadTime = time.Minute

// await checks once what was made has reached the broker that answers.
func await(ctx context.Context, adm *kadm.Client, topics wire.Topics, partitions int32) error {
	for deadline := time.Now().Add(spreadTime); ; {
		have, err := describe(ctx, adm, topics)
		if err != nil {
			return err
		}
		if have.complete(topics, partitions) || time.Now().After(deadline) {
			return have.refusal(topics)
		}
		if !wait(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// Check says what is wrong with the topics, all of it in one error: a topic is missing, or set so
// that it would lose data, or lanes differ.
func Check(ctx context.Context, adm *kadm.Client, topics wire.Topics) error {
	have, err := describe(ctx, adm, topics)
	if err != nil {
		return err
	}
	return have.refusal(topics)
}

// AwaitTopics returns once all the topics exist; it waits for brokers too, and says so in the log
// once. It errs if ctx ends, and with ErrRefused if the brokers and the security settings do not fit.
func AwaitTopics(ctx context.Context, cfg Config, id string, log *slog.Logger, topics ...string) error {
	client, err := cfg.NewClient(id, log)
	if err != nil {
		return err
	}
	defer client.Close()
	return awaitTopics(ctx, client, log, topics)
}

func awaitTopics(ctx context.Context, client *kgo.Client, log *slog.Logger, topics []string) error {
	said := told{}
	for {
		err := listAll(ctx, client, topics)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err = explain(err); errors.Is(err, ErrRefused) {
			return fmt.Errorf("kafka: %w", err)
		}
		if said.due("", time.Now()) {
			message := "waiting for topics; 'doorstep topics apply' makes them"
			if errors.Is(err, ErrDenied) {
				message = "waiting for ACLs"
			}
			log.Warn(message, "topics", topics, "error", err)
		}
		if !wait(ctx, 250*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// askTime bounds one question to brokers that may hang, before it is said and asked again.
const askTime = 5 * time.Second

// See errs unless brokers answer and have all the topics, for us to see: where ACLs allow something with a topic, it is seen.
func See(ctx context.Context, client *kgo.Client, topics ...string) error {
	if err := listAll(ctx, client, topics); err != nil {
		return fmt.Errorf("kafka: %w", explain(err))
	}
	return nil
}

// listAll errs unless all topics are there. It is not kadm's, whose error does not say which ACLs hide.
func listAll(ctx context.Context, client *kgo.Client, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
	}
	resp, err := heed(ctx, func(ctx context.Context) (*kmsg.MetadataResponse, error) { return req.RequestWith(ctx, client) })
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && t.Topic != nil {
			errs = append(errs, fmt.Errorf("topic %s: %w", *t.Topic, err))
		}
	}
	return errors.Join(errs...)
}

// TopicNames are the names of all topics: of those that may get more partitions, and of those that have one for ever.
func TopicNames(t wire.Topics) (partitioned, single []string) {
	for _, s := range specs(t) {
		if s.single {
			single = append(single, s.name)
		} else {
			partitioned = append(partitioned, s.name)
		}
	}
	return partitioned, single
}
