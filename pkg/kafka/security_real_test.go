package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// secured is an Apache Kafka with four listeners, started for one test.
type secured struct {
	plain, saslSSL, mutual string // host:port
}

// TestSignInOnKafka signs in to an Apache Kafka of its own over TLS. It needs Java and Kafka's jars,
// which are where deploy/local/servers puts them, or KAFKA_JARS.
func TestSignInOnKafka(t *testing.T) {
	if os.Getenv("TEST_KAFKA") == "" && os.Getenv("TEST_REQUIRE_REAL") != "1" {
		t.Skip("TEST_KAFKA names no Kafka: embedded servers only")
	}
	ca := testkit.NewCA(t)
	k := startSecured(t, ca)
	ctx, adm := admin(t, []string{k.plain})
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "secured"); err != nil {
		t.Fatal(err)
	}
	eachMechanism(t, []string{k.saslSSL}, ca.File, func(err error) bool { return errors.Is(err, ErrRefused) })
	cert, key := ca.Client(t, "someone")
	sent := Security{TLS: true, CAFile: ca.File, SASL: "SCRAM-SHA-512", User: "alice", Password: "secret of alice"}
	for name, tt := range map[string]struct {
		broker string
		s      Security
		want   string // empty: it works
	}{
		"a client's certificate": {k.mutual, Security{TLS: true, CAFile: ca.File, CertFile: cert, KeyFile: key}, ""},
		"none where one is due":  {k.mutual, Security{TLS: true, CAFile: ca.File}, "kafka-cert-file"},
		"TLS to a plain port":    {k.plain, Security{TLS: true, CAFile: ca.File}, "kafka-tls"},
		"plain to a TLS port":    {k.mutual, Security{}, "kafka-tls"},
		"no user":                {k.saslSSL, Security{TLS: true, CAFile: ca.File}, "kafka-sasl"},
		"password by value":      {k.saslSSL, sent, ""},
		"a mechanism not there":  {k.mutual, Security{TLS: true, CAFile: ca.File, CertFile: cert, KeyFile: key, SASL: "PLAIN", User: "alice", Password: "x"}, "kafka-sasl"},
	} {
		t.Run(name, func(t *testing.T) {
			err := use(t, []string{tt.broker}, tt.s)
			t.Logf("%v", err)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	t.Run("metadata in commits", func(t *testing.T) {
		for n, fits := range map[int]bool{maxMetadata: true, maxMetadata + 1: false} {
			offsets := kadm.Offsets{}
			offsets.Add(kadm.Offset{Topic: "secured", At: 0, Metadata: strings.Repeat("x", n)})
			if err := adm.CommitAllOffsets(ctx, "g", offsets); (err == nil) != fits {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	})
}

func startSecured(t *testing.T, ca *testkit.CA) secured {
	t.Helper()
	jars := os.Getenv("KAFKA_JARS")
	if jars == "" {
		jars = filepath.Join("..", "..", "deploy", "local", ".cache", "kafka-4.4.0")
	}
	if _, err := os.Stat(jars); err != nil {
		t.Fatalf("no jars of Kafka (`deploy/local/servers fetch` brings them): %v", err)
	}
	dir := t.TempDir()
	ports := freePorts(t, 4)
	k := secured{plain: ports[0], saslSSL: ports[1], mutual: ports[2]}
	config := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(config, []byte(securedConfig(t, ca, dir, k, ports[3])), 0o600); err != nil {
		t.Fatal(err)
	}
	java := func(args ...string) *exec.Cmd {
		return exec.Command("java", append([]string{"-Xmx512m", "-cp", jars + "/*",
			"-Dlog4j2.configurationFile=" + filepath.Join("..", "..", "deploy", "local", "log4j2.properties")}, args...)...)
	}
	if out, err := java("kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", config,
		"--add-scram", "SCRAM-SHA-256=[name=alice,password=secret of alice]",
		"--add-scram", "SCRAM-SHA-512=[name=alice,password=secret of alice]").CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	logFile := filepath.Join(dir, "log")
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	cmd := java("kafka.Kafka", config)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = log.Close()
	})
	testkit.Eventually(t, time.Minute, func() error {
		written, err := os.ReadFile(logFile)
		if err == nil && !bytes.Contains(written, []byte("Kafka Server started")) {
			err = fmt.Errorf("kafka does not start:\n%s", written[max(0, len(written)-2000):])
		}
		return err
	})
	return k
}

// securedConfig is a broker's configuration with a plain listener, one for users over TLS and one for client certificates.
func securedConfig(t *testing.T, ca *testkit.CA, dir string, k secured, controller string) string {
	t.Helper()
	cert, key := ca.Server(t)
	var keystore []byte
	for _, file := range []string{key, cert} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		keystore = append(keystore, b...)
	}
	keystoreFile := filepath.Join(dir, "keystore.pem")
	if err := os.WriteFile(keystoreFile, keystore, 0o600); err != nil {
		t.Fatal(err)
	}
	listeners := fmt.Sprintf("INTERNAL://%s,USERS://%s,MUTUAL://%s", k.plain, k.saslSSL, k.mutual)
	const module = "org.apache.kafka.common.security."
	return strings.Join([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + controller,
		"controller.listener.names=CONTROLLER", "inter.broker.listener.name=INTERNAL",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,USERS:SASL_SSL,MUTUAL:SSL",
		"listeners=" + listeners + ",CONTROLLER://" + controller, "advertised.listeners=" + listeners,
		"log.dirs=" + filepath.Join(dir, "data"),
		"offsets.topic.num.partitions=1", "offsets.topic.replication.factor=1", "group.initial.rebalance.delay.ms=0",
		"transaction.state.log.num.partitions=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
		"ssl.keystore.type=PEM", "ssl.keystore.location=" + keystoreFile,
		"ssl.truststore.type=PEM", "ssl.truststore.location=" + ca.File,
		"listener.name.mutual.ssl.client.auth=required",
		"listener.name.users.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.users.plain.sasl.jaas.config=" + module + `plain.PlainLoginModule required user_alice="secret of alice";`,
		"listener.name.users.scram-sha-256.sasl.jaas.config=" + module + "scram.ScramLoginModule required;",
		"listener.name.users.scram-sha-512.sasl.jaas.config=" + module + "scram.ScramLoginModule required;",
	}, "\n") + "\n"
}

// freePorts are addresses on loopback that nobody listens on.
func freePorts(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}
