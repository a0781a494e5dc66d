package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func TestSecurityIsValidated(t *testing.T) {
	signedIn := Security{SASL: "PLAIN", User: "alice", Password: "hidden-word"}
	for want, s := range map[string]Security{
		"kafka-ca-file: needs kafka-tls":                    {CAFile: "f"},
		"kafka-server-name: needs kafka-tls":                {ServerName: "n"},
		"kafka-cert-file: needs kafka-key-file":             {TLS: true, CertFile: "f"},
		"kafka-sasl: \"SCRAM\" is not one of PLAIN":         {SASL: "SCRAM"},
		"kafka-sasl: is required with kafka-user":           {Password: "hidden-word"},
		"kafka-user: is required with kafka-sasl PLAIN":     {SASL: "PLAIN", Password: "hidden-word"},
		"kafka-password: it or kafka-password-file":         {SASL: "SCRAM-SHA-512", User: "alice"},
		"kafka-password: also given by kafka-password-file": {SASL: "PLAIN", User: "alice", Password: "hidden-word", PasswordFile: "f"},
	} {
		c := Config{Brokers: []string{"127.0.0.1:1"}, TopicPrefix: "t.", RetryTiers: "1m", Security: s}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden-word") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	c := Config{Brokers: []string{"127.0.0.1:1"}, TopicPrefix: "t.", RetryTiers: "1m", Security: signedIn}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c)} {
		if strings.Contains(shown, "hidden-word") {
			t.Errorf("the password shows: %s", shown)
		}
	}
	c.Embedded = true
	if err := c.Validate(); err == nil {
		t.Error("the embedded log takes a user")
	}
	for want, s := range map[string]Security{
		"kafka-ca-file: open /missing":       {TLS: true, CAFile: "/missing"},
		"kafka-password-file: open /missing": {SASL: "PLAIN", User: "alice", PasswordFile: "/missing"},
	} {
		c := Config{Brokers: []string{"127.0.0.1:1"}, Security: s}
		if _, err := c.NewClient("test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// eachMechanism signs in by each, and fails to.
func eachMechanism(t *testing.T, brokers []string, ca string, refused func(error) bool) {
	passwords := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(passwords, []byte("secret of alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			good := Security{TLS: true, CAFile: ca, SASL: mechanism, User: "alice", PasswordFile: passwords}
			if err := use(t, brokers, good); err != nil {
				t.Errorf("with the right password: %v", err)
			}
			bad := good
			bad.PasswordFile, bad.Password = "", "hidden-word"
			err := use(t, brokers, bad)
			t.Logf("with a wrong password: %v", err)
			if !refused(err) || strings.Contains(err.Error(), "hidden-word") {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}

// use writes a record and reads it back, as a fresh client of the brokers.
func use(t *testing.T, brokers []string, s Security) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := Config{Brokers: brokers, Security: s}
	client, err := c.NewClient("test", slog.New(slog.DiscardHandler), kgo.ConsumeTopics("secured"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := Ping(ctx, client); err != nil {
		return err
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "secured", Value: []byte("x")}).FirstErr(); err != nil {
		return err
	}
	return client.PollFetches(ctx).Err()
}

func TestSignInOnKfake(t *testing.T) {
	ca := testkit.NewCA(t)
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.TLS(ca.ServerConfig(t)), kfake.SeedTopics(1, "secured")}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		opts = append(opts, kfake.Superuser(mechanism, "alice", "secret of alice"))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	// It closes the connection instead of an answer.
	eachMechanism(t, c.ListenAddrs(), ca.File, func(err error) bool { return errors.Is(err, io.EOF) && strings.Contains(err.Error(), "kafka-user") })
}

func TestRefusalsNameTheSetting(t *testing.T) {
	ca, stranger := testkit.NewCA(t), testkit.NewCA(t)
	listen := func(opts ...kfake.Opt) []string {
		c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c.ListenAddrs()
	}
	secured := ca.ServerConfig(t)
	mutual := secured.Clone()
	mutual.ClientAuth = tls.RequireAndVerifyClientCert
	overTLS, overMutual := listen(kfake.TLS(secured)), listen(kfake.TLS(mutual))
	cert, key := ca.Client(t, "someone")
	for name, tt := range map[string]struct {
		brokers []string
		s       Security
		want    string // empty: no refusal
	}{
		"a stranger's authority": {overTLS, Security{TLS: true, CAFile: stranger.File}, "kafka-ca-file"},
		"the system's":           {overTLS, Security{TLS: true}, "kafka-ca-file"},
		"another name":           {overTLS, Security{TLS: true, CAFile: ca.File, ServerName: "elsewhere.example"}, "kafka-server-name"},
		"brokers with TLS":       {overTLS, Security{}, "kafka-tls"},
		"no certificate":         {overMutual, Security{TLS: true, CAFile: ca.File}, "kafka-cert-file"},
		"a certificate":          {overMutual, Security{TLS: true, CAFile: ca.File, CertFile: cert, KeyFile: key}, ""},
		"a name that fits":       {overTLS, Security{TLS: true, CAFile: ca.File, ServerName: "localhost"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			c := Config{Brokers: tt.brokers, Security: tt.s}
			client, err := c.NewClient("test", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			err = Ping(ctx, client)
			t.Logf("%v", err)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if !errors.Is(err, ErrRefused) {
				return
			}
			// A service that starts ends with it, instead of waiting.
			if err := AwaitTopics(ctx, c, "test", slog.New(slog.DiscardHandler)); !errors.Is(err, ErrRefused) {
				t.Errorf("waiting for topics ends with %v", err)
			}
		})
	}
}
