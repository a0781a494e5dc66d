package containers

import (
	"context"
	"testing"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const kafkaPort = "9092/tcp"

// advertised is the file that holds what the broker tells its clients about where it is. That is the port
// of this machine that the engine has picked for it, which is known only once the container runs.
const advertised = "/tmp/advertised"

// startKafka starts one broker that is its controller as well. What a topic does not say for itself is as
// on a production cluster; the internal topics have one copy.
func startKafka(ctx context.Context, t testing.TB, image string) string {
	t.Helper()
	tellAddress := func(ctx context.Context, c testcontainers.Container) error {
		if err := wait.ForMappedPort(kafkaPort).WaitUntilReady(ctx, c); err != nil {
			return err
		}
		addr, err := c.PortEndpoint(ctx, kafkaPort, "CLIENTS")
		if err != nil {
			return err
		}
		return c.CopyToContainer(ctx, []byte(addr+",ITSELF://127.0.0.1:9094"), advertised, 0o644)
	}
	return run(ctx, t, image, kafkaPort, wait.ForLog("Kafka Server started"),
		testcontainers.WithCmd("sh", "-c", "while [ ! -s "+advertised+" ]; do sleep 0.1; done; "+
			"KAFKA_ADVERTISED_LISTENERS=$(cat "+advertised+"); export KAFKA_ADVERTISED_LISTENERS; exec /etc/kafka/docker/run"),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			PostStarts: []testcontainers.ContainerHook{tellAddress},
		}),
		testcontainers.WithEnv(map[string]string{
			"KAFKA_HEAP_OPTS":                                        "-Xms256m -Xmx512m",
			"KAFKA_NODE_ID":                                          "1",
			"KAFKA_PROCESS_ROLES":                                    "broker,controller",
			"KAFKA_CONTROLLER_QUORUM_VOTERS":                         "1@127.0.0.1:9093",
			"KAFKA_CONTROLLER_LISTENER_NAMES":                        "CONTROLLER",
			"KAFKA_LISTENERS":                                        "CLIENTS://0.0.0.0:9092,ITSELF://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093",
			"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":                   "CLIENTS:PLAINTEXT,ITSELF:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"KAFKA_INTER_BROKER_LISTENER_NAME":                       "ITSELF",
			"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                        "false",
			"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":                 "1",
			"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR":         "1",
			"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":                    "1",
			"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
			"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR":            "1",
			"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":                 "0",
		}))
}
