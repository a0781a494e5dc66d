package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// TopicError is what Apply and Check refuse: every fault with its topic and reason.
type TopicError []string

// Error names every fault on a line of its own.
func (e TopicError) Error() string {
	return "topics are not fit for use:\n  " + strings.Join(e, "\n  ")
}

// topicState is what a topic is like.
type topicState struct {
	partitions  int32
	replication int
	configs     map[string]string // in force, defaults of the broker included
}

// cluster is what there is of our topics; those that are missing have no entry.
type cluster struct {
	brokers int
	topics  map[string]topicState
}

// describe asks the brokers.
func describe(ctx context.Context, adm *kadm.Client, topics wire.Topics) (cluster, error) {
	var asked []string
	for _, s := range specs(topics) {
		asked = append(asked, s.name)
	}
	meta, err := adm.Metadata(ctx, asked...)
	if err != nil {
		return cluster{}, fmt.Errorf("describe topics: %w", err)
	}
	have, there := cluster{brokers: len(meta.Brokers), topics: map[string]topicState{}}, []string(nil)
	for _, d := range meta.Topics {
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if d.Err != nil && !kerr.IsRetriable(d.Err) {
			return cluster{}, fmt.Errorf("describe topic %s: %w", d.Topic, Denied(d.Err))
		}
		have.topics[d.Topic] = topicState{
			partitions: int32(len(d.Partitions)), replication: d.Partitions.NumReplicas(), //nolint:gosec // partition numbers are int32
			configs: map[string]string{},
		}
		there = append(there, d.Topic)
	}
	if len(there) == 0 {
		return have, nil
	}
	configs, err := adm.DescribeTopicConfigs(ctx, there...)
	if err != nil {
		return cluster{}, fmt.Errorf("describe the settings of topics: %w", err)
	}
	return have, have.addConfigs(configs)
}

func (c cluster) addConfigs(configs kadm.ResourceConfigs) error {
	for _, r := range configs {
		if errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			delete(c.topics, r.Name) // made a moment ago, and not everywhere yet
			continue
		}
		if r.Err != nil {
			return fmt.Errorf("describe the settings of topic %s: %w", r.Name, Denied(r.Err))
		}
		for _, kv := range r.Configs {
			if kv.Value != nil {
				c.topics[r.Name].configs[kv.Key] = *kv.Value
			}
		}
	}
	return nil
}

// partitions is how many a topic gets: what was asked for, but never fewer than a lane has, since
// partitions cannot be taken away.
func (c cluster) partitions(topics wire.Topics, asked int32) int32 {
	for _, lane := range topics.Lanes() {
		asked = max(asked, c.topics[lane].partitions)
	}
	if asked == 0 {
		return DefaultPartitions
	}
	return asked
}

// complete reports whether all topics are there, the lanes with that many partitions.
func (c cluster) complete(topics wire.Topics, partitions int32) bool {
	for _, s := range specs(topics) {
		if t, ok := c.topics[s.name]; !ok || t.partitions == 0 || s.lane && t.partitions < partitions {
			return false
		}
	}
	return true
}

// refusal is a TopicError with everything that is wrong, or nil.
func (c cluster) refusal(topics wire.Topics) error {
	var e TopicError
	lanes := c.topics[topics.Deliveries].partitions
	for _, s := range specs(topics) {
		t, ok := c.topics[s.name]
		if !ok || t.partitions == 0 {
			e = append(e, s.name+" does not exist; 'doorstep topics apply' makes it")
			continue
		}
		if s.lane && lanes > 0 && t.partitions != lanes {
			e = append(e, fmt.Sprintf("%s has %d partitions and %s has %d: a webhook would have two senders; "+
				"'doorstep topics apply --partitions %d' makes them the same", s.name, t.partitions, topics.Deliveries, lanes, max(lanes, t.partitions)))
		}
		for _, fault := range append(s.faults(t), t.safety(c.brokers)...) {
			e = append(e, s.name+" "+fault)
		}
	}
	if len(e) == 0 {
		return nil
	}
	return e
}

// faults say how the topic's own settings fall short of the spec.
func (s topicSpec) faults(t topicState) []string {
	var f []string
	want := "delete"
	if s.compacted {
		want = "compact"
	}
	if got := t.configs["cleanup.policy"]; got != want {
		f = append(f, fmt.Sprintf("has cleanup.policy=%s and needs %s: records that are still needed would go", got, want))
	}
	if s.single && t.partitions != 1 {
		f = append(f, fmt.Sprintf("has %d partitions and needs 1: a key that moves to another partition leaves its old value behind", t.partitions))
	}
	if !s.compacted {
		if ms, ok := t.number("retention.ms"); ok && ms >= 0 && ms < s.retention.Milliseconds() {
			f = append(f, fmt.Sprintf("has retention.ms=%d (%s) and needs at least %d (%s): what waits longer would be lost",
				ms, time.Duration(ms)*time.Millisecond, s.retention.Milliseconds(), s.retention))
		}
		if n, ok := t.number("retention.bytes"); ok && n >= 0 {
			f = append(f, fmt.Sprintf("has retention.bytes=%d and needs -1: records that nobody has read yet would be lost", n))
		}
	}
	if n, ok := t.number("max.message.bytes"); ok && n < maxBatchBytes {
		f = append(f, fmt.Sprintf("has max.message.bytes=%d and needs at least %d: large events would be refused", n, maxBatchBytes))
	}
	return f
}

// safety says how the topic could lose what a broker has acknowledged.
func (t topicState) safety(brokers int) []string {
	var f []string
	if t.configs["unclean.leader.election.enable"] == "true" {
		f = append(f, "has unclean.leader.election.enable=true and needs false: a replica that is behind could lead and drop what was acknowledged")
	}
	inSync, known := t.number("min.insync.replicas")
	if known && inSync > int64(t.replication) {
		f = append(f, fmt.Sprintf("has min.insync.replicas=%d and %d replicas: nothing can be written to it", inSync, t.replication))
	}
	if brokers < maxReplication {
		return f
	}
	if t.replication < minInSync {
		f = append(f, fmt.Sprintf("has %d replica on %d brokers and needs at least %d: one broker's disk would lose it", t.replication, brokers, minInSync))
	}
	if known && inSync < minInSync {
		f = append(f, fmt.Sprintf("has min.insync.replicas=%d on %d brokers and needs %d: what one broker alone has acknowledged can be lost", inSync, brokers, minInSync))
	}
	return f
}

func (t topicState) number(config string) (int64, bool) {
	n, err := strconv.ParseInt(t.configs[config], 10, 64)
	return n, err == nil
}
