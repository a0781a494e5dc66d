// Package containers runs the servers that Doorstep needs in containers of their own, for tests on a
// machine where a container engine answers (testcontainers-go; Docker, or what speaks its protocol).
//
//	TEST_CONTAINERS       1: a test that cannot have its containers fails, and images are pulled. Else it
//	                      is skipped with the reason, and nothing is pulled
//	TEST_IMAGE_KAFKA      default apache/kafka:4.4.0
//	TEST_IMAGE_REDIS      default redis:7
//	TEST_IMAGE_POSTGRES   default postgres:15
//
// An image that is named must understand what is used here of the default one: its environment, and for
// Kafka the program /etc/kafka/docker/run. Those that deploy/images makes do. `make test-containers` runs
// the tests of this package whether there is an engine and a registry or not.
package containers

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver with which PostgreSQL is waited for
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	engineTimeout = 10 * time.Second
	// startTimeout bounds the start of one container, its image there. Kafka takes 10 s on two cores.
	startTimeout = 2 * time.Minute
	// pullTimeout bounds all of Start where images may have to be pulled.
	pullTimeout = 15 * time.Minute
)

// Servers is where they answer, from this machine.
type Servers struct {
	Kafka    []string // bootstrap brokers, host:port
	Redis    string   // redis:// URL
	Postgres string   // postgres:// URL with the password
}

// images are the images to run.
type images struct{ kafka, redis, postgres string }

// Start starts one of each and returns once they answer; they end with the test. It skips the test, or
// fails it, where that cannot be; see the package comment.
func Start(t testing.TB) Servers {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pullTimeout)
	defer cancel()
	required := os.Getenv("TEST_CONTAINERS") == "1"
	i := images{
		kafka:    cmp.Or(os.Getenv("TEST_IMAGE_KAFKA"), "apache/kafka:4.4.0"),
		redis:    cmp.Or(os.Getenv("TEST_IMAGE_REDIS"), "redis:7"),
		postgres: cmp.Or(os.Getenv("TEST_IMAGE_POSTGRES"), "postgres:15"),
	}
	switch err := obstacle(ctx, i, required); {
	case err != nil && required:
		t.Fatalf("TEST_CONTAINERS=1, and %v", err)
	case err != nil:
		t.Skipf("no containers: %v", err)
	}
	s := Servers{Redis: startRedis(ctx, t, i.redis), Postgres: startPostgres(ctx, t, i.postgres), Kafka: []string{startKafka(ctx, t, i.kafka)}}
	t.Logf("servers: containers of %s at %v, %s at %s, %s", i.kafka, s.Kafka, i.redis, s.Redis, i.postgres)
	return s
}

// obstacle says why containers cannot run: no engine answers, or an image is not there and may not be
// pulled.
func obstacle(ctx context.Context, i images, pull bool) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return fmt.Errorf("there is no container engine: %w", err)
	}
	defer provider.Close()
	if err := provider.Health(ctx); err != nil {
		return fmt.Errorf("the container engine does not answer: %w", err)
	}
	if pull {
		return nil
	}
	for _, image := range []string{i.kafka, i.redis, i.postgres} {
		if _, err := provider.Client().ImageInspect(ctx, image); err != nil {
			return fmt.Errorf("without TEST_CONTAINERS=1 nothing is pulled: %w", err)
		}
	}
	return nil
}

// run starts a container that publishes one port, and returns where that answers, host:port.
func run(ctx context.Context, t testing.TB, image, port string, ready wait.Strategy, more ...testcontainers.ContainerCustomizer) string {
	t.Helper()
	c, err := testcontainers.Run(ctx, image, append(more,
		testcontainers.WithLogger(log.TestLogger(t)),
		testcontainers.WithExposedPorts(port),
		testcontainers.WithWaitStrategyAndDeadline(startTimeout, ready))...)
	// What it holds goes with it, so it need not end in good order.
	testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	if err != nil {
		t.Fatalf("container of %s: %v", image, err)
	}
	addr, err := c.PortEndpoint(ctx, port, "")
	if err != nil {
		t.Fatalf("container of %s: %v", image, err)
	}
	return addr
}

func startRedis(ctx context.Context, t testing.TB, image string) string {
	t.Helper()
	return "redis://" + run(ctx, t, image, "6379/tcp", wait.ForLog("Ready to accept connections"))
}

func startPostgres(ctx context.Context, t testing.TB, image string) string {
	t.Helper()
	const name = "doorstep" // of the user and the database; the password as well
	at := func(addr string) string {
		u := url.URL{Scheme: "postgres", User: url.UserPassword(name, name), Host: addr, Path: name, RawQuery: "sslmode=disable"}
		return u.String()
	}
	// Its log says "ready" once before: of the server that only its own entrypoint can reach.
	ready := wait.ForSQL("5432/tcp", "pgx", func(host string, port network.Port) string { return at(host + ":" + port.Port()) })
	return at(run(ctx, t, image, "5432/tcp", ready,
		testcontainers.WithEnv(map[string]string{"POSTGRES_USER": name, "POSTGRES_PASSWORD": name, "POSTGRES_DB": name})))
}
