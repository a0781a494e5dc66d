package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// serverTimeout bounds what this package itself asks of a server.
const serverTimeout = 30 * time.Second

// realServer is what the environment variable says, "" if it says nothing and need not.
func realServer(t testing.TB, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" && os.Getenv("TEST_REQUIRE_REAL") == "1" {
		t.Fatalf("TEST_REQUIRE_REAL=1, and %s names no server", variable)
	}
	return value
}

// Broker gives the bootstrap addresses of the cluster that TEST_KAFKA names, else of a fresh kfake
// with one broker, which ends with the test.
func Broker(t testing.TB) []string {
	t.Helper()
	if value := realServer(t, "TEST_KAFKA"); value != "" {
		t.Logf("kafka: %s", value)
		return strings.Split(value, ",")
	}
	return EmbeddedBroker(t)
}

// EmbeddedBroker is a fresh kfake with one broker, which ends with the test, whatever the environment says.
func EmbeddedBroker(t testing.TB) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{
		"default.replication.factor": "1", "group.initial.rebalance.delay.ms": "0",
	}))
	if err != nil {
		t.Fatalf("start kfake: %v", err)
	}
	t.Cleanup(c.Close)
	t.Logf("kafka: kfake in process at %v", c.ListenAddrs())
	return c.ListenAddrs()
}

// RealKafka reports whether Broker gives a cluster, and not a kfake.
func RealKafka() bool { return os.Getenv("TEST_KAFKA") != "" }

// Topics makes topics with as many copies as the brokers make by themselves.
func Topics(t testing.TB, brokers []string, partitions int32, topics ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serverTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatalf("make topics %v: %v", topics, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	made, err := admin.CreateTopics(ctx, partitions, -1, nil, topics...)
	if err = errors.Join(err, made.Error()); err != nil {
		t.Fatalf("make topics %v: %v", topics, err)
	}
	// A broker that is busy takes a while to lead what was made.
	Eventually(t, serverTimeout, func() error {
		ends, err := admin.ListEndOffsets(ctx, topics...)
		return errors.Join(err, ends.Error())
	})
}

// Redis gives the URL of the server that TEST_REDIS names, else of a fresh miniredis, which ends
// with the test and whose clock stands still.
func Redis(t testing.TB) string {
	t.Helper()
	if value := realServer(t, "TEST_REDIS"); value != "" {
		options, err := redis.ParseURL(value)
		if err != nil {
			t.Fatal("TEST_REDIS is not a redis:// URL") // the error would show its password
		}
		t.Logf("redis: %s", options.Addr)
		return value
	}
	addr := miniredis.RunT(t).Addr()
	t.Logf("redis: miniredis in process at %s", addr)
	return "redis://" + addr
}

// Prefix is a name that no other test has, for topics, groups, transactional ids and Redis keys,
// e.g. "t-7c9e6679f74b.". Topics and Redis keys under it that were made on real servers are deleted
// when the test ends: call it before starting what uses them, so that they go last.
func Prefix(t testing.TB) string {
	t.Helper()
	prefix := "t-" + strings.ToLower(rand.Text()[:12]) + "."
	if brokers := os.Getenv("TEST_KAFKA"); brokers != "" {
		t.Cleanup(func() { deleteTopics(t, strings.Split(brokers, ","), prefix) })
	}
	if url := os.Getenv("TEST_REDIS"); url != "" {
		t.Cleanup(func() { DeleteKeys(t, url, prefix) })
	}
	return prefix
}

func deleteTopics(t testing.TB, brokers []string, prefix string) {
	ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Errorf("clean up topics %s*: %v", prefix, err)
		return
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		t.Errorf("clean up topics %s*: %v", prefix, err)
		return
	}
	var mine []string
	for _, topic := range topics.Names() {
		if strings.HasPrefix(topic, prefix) {
			mine = append(mine, topic)
		}
	}
	if len(mine) == 0 {
		return
	}
	deleted, err := admin.DeleteTopics(ctx, mine...)
	if err != nil || deleted.Error() != nil {
		t.Errorf("clean up topics %s*: %v %v", prefix, err, deleted.Error())
	}
}

// DeleteKeys deletes all keys with the prefix, as if Redis had been emptied.
func DeleteKeys(t testing.TB, url, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
	defer cancel()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Error("the address of Redis is not a redis:// URL")
		return
	}
	client := redis.NewClient(options)
	defer client.Close()
	keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Del(ctx, keys.Val()).Err(); err != nil {
			t.Errorf("clean up keys %s*: %v", prefix, err)
			return
		}
	}
	if err := keys.Err(); err != nil {
		t.Errorf("clean up keys %s*: %v", prefix, err)
	}
}
