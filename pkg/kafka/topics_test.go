package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sync/errgroup"

	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func testTopics(t *testing.T, prefix string) wire.Topics {
	t.Helper()
	topics, err := wire.NewTopics(prefix, retry.Schedule{time.Minute, 5 * time.Minute, time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return topics
}

// fakes is an embedded cluster of so many brokers.
func fakes(t *testing.T, brokers int) (addrs []string) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// admin is a client of a cluster.
func admin(t *testing.T, brokers []string) (context.Context, *kadm.Client) {
	t.Helper()
	client, err := Config{Brokers: brokers}.NewClient("test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx, kadm.NewClient(client)
}

func mustDescribe(ctx context.Context, t *testing.T, adm *kadm.Client, topics wire.Topics) cluster {
	t.Helper()
	have, err := describe(ctx, adm, topics)
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// made is what Apply is to make of topics.
type made struct {
	partitions  int32
	replication int
	inSync      string
	segment     string // empty: the broker's own
}

func TestApplyMakesTopics(t *testing.T) {
	for name, tt := range map[string]struct {
		brokers int
		options TopicOptions
		want    made
	}{
		"one broker":       {1, TopicOptions{}, made{12, 1, "1", ""}},
		"two brokers":      {2, TopicOptions{}, made{12, 2, "1", ""}},
		"three brokers":    {3, TopicOptions{Partitions: 3}, made{3, 3, "2", ""}},
		"five brokers":     {5, TopicOptions{Partitions: 1}, made{1, 3, "2", ""}},
		"the embedded log": {1, EmbeddedTopics(), made{4, 1, "1", "16777216"}},
	} {
		t.Run(name, func(t *testing.T) { applyMakes(t, fakes(t, tt.brokers), "t.", tt.options, tt.want) })
	}
	t.Run("the cluster of the environment", func(t *testing.T) {
		prefix, brokers := testkit.Prefix(t), testkit.Broker(t)
		ctx, adm := admin(t, brokers)
		all, err := adm.ListBrokers(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := made{2, min(len(all), 3), "1", ""}
		if want.replication == 3 {
			want.inSync = "2"
		}
		applyMakes(t, brokers, prefix, TopicOptions{Partitions: 2}, want)
	})
}

func applyMakes(t *testing.T, brokers []string, prefix string, o TopicOptions, want made) {
	t.Helper()
	topics := testTopics(t, prefix)
	ctx, adm := admin(t, brokers)
	for range 2 { // the second time finds everything there
		if err := Apply(ctx, adm, topics, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := Check(ctx, adm, topics); err != nil {
		t.Fatalf("what Apply made, Check refuses: %v", err)
	}
	have := mustDescribe(ctx, t, adm, topics)
	if len(have.topics) != 15 {
		t.Fatalf("%d topics, want 15", len(have.topics))
	}
	const week, month = "604800000", "2592000000"
	for topic, of := range map[string]struct {
		single            bool
		policy, retention string
	}{
		"events": {false, "delete", week}, "deliveries": {false, "delete", week},
		"deliveries.1m": {false, "delete", week}, "deliveries.5m": {false, "delete", week},
		"deliveries.60m": {false, "delete", week}, "deliveries.parked": {false, "delete", week},
		"deliveries.parked.5m": {false, "delete", week}, "deliveries.suspended": {false, "delete", month},
		"attempts": {false, "delete", week}, "notices": {false, "delete", week},
		"states": {false, "compact", ""}, "quarantine": {false, "delete", month},
		"webhooks": {true, "compact", ""}, "settings": {true, "compact", ""}, "jobs": {true, "compact", ""},
	} {
		got, partitions := have.topics[prefix+topic], want.partitions
		if of.single {
			partitions = 1
		}
		c := got.configs
		if got.partitions != partitions || got.replication != want.replication || c["cleanup.policy"] != of.policy ||
			c["min.insync.replicas"] != want.inSync || c["max.message.bytes"] != "2097152" {
			t.Errorf("%s: %d partitions, %d replicas, %v", topic, got.partitions, got.replication, c)
		}
		if of.retention != "" && (c["retention.ms"] != of.retention || c["retention.bytes"] != "-1") {
			t.Errorf("%s: kept %s ms, %s bytes", topic, c["retention.ms"], c["retention.bytes"])
		}
		if want.segment != "" && c["segment.bytes"] != want.segment {
			t.Errorf("%s: segments of %s bytes", topic, c["segment.bytes"])
		}
	}
}

func TestApplyBySeveralAtOnce(t *testing.T) {
	topics := testTopics(t, testkit.Prefix(t))
	ctx, adm := admin(t, testkit.Broker(t))
	group, ctx := errgroup.WithContext(ctx)
	for range 4 {
		group.Go(func() error { return Apply(ctx, adm, topics, TopicOptions{Partitions: 2}) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	group, ctx = errgroup.WithContext(t.Context())
	for range 4 {
		group.Go(func() error { return Apply(ctx, adm, topics, TopicOptions{Partitions: 5}) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	// Apply has heard of it from one broker; another may lag behind.
	testkit.Eventually(t, 10*time.Second, func() error {
		have := mustDescribe(t.Context(), t, adm, topics)
		for _, s := range specs(topics) {
			want := int32(5)
			if s.single {
				want = 1
			}
			if got := have.topics[s.name].partitions; got != want {
				return fmt.Errorf("%s has %d partitions, want %d", s.name, got, want)
			}
		}
		return nil
	})
}

func TestApplyKeepsLanesAlike(t *testing.T) {
	prefix := testkit.Prefix(t)
	topics := testTopics(t, prefix)
	ctx, adm := admin(t, testkit.Broker(t))
	if err := Apply(ctx, adm, topics, TopicOptions{Partitions: 6}); err != nil {
		t.Fatal(err)
	}
	// A schedule with another tier: its lane gets as many partitions as the others have, whatever is asked.
	more, err := wire.NewTopics(prefix, retry.Schedule{time.Minute, 2 * time.Minute, 3 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := Apply(ctx, adm, more, TopicOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Apply(ctx, adm, more, TopicOptions{Partitions: 4}); err != nil {
		t.Fatal(err)
	}
	// One lane has got more by hand: refused, until all are made the same.
	if _, err := adm.UpdatePartitions(ctx, 8, more.Parked.Topic); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"check": func() error { return Check(ctx, adm, more) },
		"apply": func() error { return Apply(ctx, adm, more, TopicOptions{}) },
	} {
		testkit.Eventually(t, 10*time.Second, func() error {
			err := do()
			switch {
			case err == nil:
				return fmt.Errorf("%s accepts lanes that differ", name)
			case !strings.Contains(err.Error(), prefix+"deliveries.parked has 8 partitions and "+prefix+"deliveries has 6"):
				return fmt.Errorf("%s of lanes that differ says: %w", name, err)
			}
			return nil
		})
	}
	if err := Apply(ctx, adm, more, TopicOptions{Partitions: 8}); err != nil {
		t.Fatal(err)
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	ctx, adm := admin(t, testkit.Broker(t))
	err := Check(ctx, adm, testTopics(t, testkit.Prefix(t)))
	var e TopicError
	if !errors.As(err, &e) || len(e) != 15 || !strings.Contains(e[0], "doorstep topics apply") {
		t.Fatalf("got %v", err)
	}
}

func TestRefusals(t *testing.T) {
	topics := testTopics(t, "t.")
	for name, tt := range map[string]struct {
		brokers int
		topic   string
		change  func(*topicState)
		reason  string // empty: accepted
	}{
		"as made":                     {3, topics.Events, func(*topicState) {}, ""},
		"events compacted":            {3, topics.Events, config("cleanup.policy", "compact"), "cleanup.policy=compact and needs delete"},
		"deliveries compacted too":    {3, topics.Deliveries, config("cleanup.policy", "compact,delete"), "needs delete"},
		"webhooks deleted":            {3, topics.Webhooks, config("cleanup.policy", "delete"), "needs compact"},
		"states deleted in time":      {3, topics.States, config("cleanup.policy", "compact,delete"), "needs compact"},
		"a day's retention":           {3, topics.Tiers[0].Topic, config("retention.ms", "86400000"), "retention.ms=86400000 (24h0m0s) and needs at least"},
		"retention for ever":          {3, topics.Events, config("retention.ms", "-1"), ""},
		"longer retention":            {3, topics.Events, config("retention.ms", "604800001"), ""},
		"a week for suspended":        {3, topics.Suspended, config("retention.ms", "604800000"), "needs at least"},
		"retention of compacted":      {3, topics.Settings, config("retention.ms", "1"), ""},
		"bounded in bytes":            {3, topics.Attempts, config("retention.bytes", "1073741824"), "retention.bytes=1073741824 and needs -1"},
		"small messages":              {3, topics.Deliveries, config("max.message.bytes", "1000"), "max.message.bytes=1000"},
		"Kafka's own message limit":   {3, topics.Deliveries, config("max.message.bytes", "1048588"), ""},
		"unclean election":            {3, topics.Notices, config("unclean.leader.election.enable", "true"), "unclean.leader.election.enable=true"},
		"clean election":              {3, topics.Notices, config("unclean.leader.election.enable", "false"), ""},
		"one in sync on three":        {3, topics.Jobs, config("min.insync.replicas", "1"), "min.insync.replicas=1 on 3 brokers"},
		"one in sync on two":          {2, topics.Jobs, config("min.insync.replicas", "1"), ""},
		"two copies, two in sync":     {3, topics.Events, func(s *topicState) { s.replication = 2 }, ""},
		"one copy on three":           {3, topics.Events, func(s *topicState) { s.replication = 1 }, "1 replica on 3 brokers"},
		"more in sync than copies":    {1, topics.Events, func(s *topicState) { s.replication = 1 }, "nothing can be written"},
		"settings in two partitions":  {3, topics.Settings, func(s *topicState) { s.partitions = 2 }, "has 2 partitions and needs 1"},
		"events need not be as lanes": {3, topics.Events, func(s *topicState) { s.partitions = 30 }, ""},
		"a lane apart":                {3, topics.Tiers[2].Topic, func(s *topicState) { s.partitions = 4 }, "topics apply --partitions 12"},
	} {
		t.Run(name, func(t *testing.T) {
			have := cluster{brokers: tt.brokers, topics: map[string]topicState{}}
			for _, s := range specs(topics) {
				state := topicState{partitions: 12, replication: 3, configs: map[string]string{}}
				if s.single {
					state.partitions = 1
				}
				for k, v := range s.configs(3, TopicOptions{}) {
					state.configs[k] = *v
				}
				if s.name == tt.topic {
					tt.change(&state)
				}
				have.topics[s.name] = state
			}
			err := have.refusal(topics)
			if tt.reason == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var e TopicError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.reason) ||
				slices.ContainsFunc(e, func(fault string) bool { return !strings.HasPrefix(fault, tt.topic+" ") }) {
				t.Fatalf("got %v, want faults of %s alone, one with %q", err, tt.topic, tt.reason)
			}
		})
	}
}

func config(name, value string) func(*topicState) {
	return func(s *topicState) { s.configs[name] = value }
}

func TestAwaitTopics(t *testing.T) {
	prefix := testkit.Prefix(t)
	cfg := Config{Brokers: testkit.Broker(t), TopicPrefix: prefix, RetryTiers: "1m"}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	came := make(chan error, 1)
	go func() { came <- AwaitTopics(ctx, cfg, "test", slog.New(slog.DiscardHandler), prefix+"events") }()
	select {
	case err := <-came:
		t.Fatalf("returned before the topic was there: %v", err)
	case <-time.After(400 * time.Millisecond):
	}
	testkit.Topics(t, cfg.Brokers, 1, prefix+"events")
	if err := <-came; err != nil {
		t.Fatal(err)
	}

	ended, end := context.WithCancel(t.Context())
	end()
	if err := AwaitTopics(ended, cfg, "test", slog.New(slog.DiscardHandler), prefix+"never"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v after the context ended", err)
	}
}
