package redisstate_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestOverTLS signs in over TLS with a password from a file, on both servers; each wants our certificate too.
func TestOverTLS(t *testing.T) {
	ca := testkit.NewCA(t)
	t.Run("miniredis", func(t *testing.T) {
		server := miniredis.NewMiniRedis()
		config := ca.ServerConfig(t)
		config.ClientAuth = tls.RequireAndVerifyClientCert
		if err := server.StartTLS(config); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		server.RequireUserAuth("doorstep", "correct horse")
		overTLS(t, ca, server.Addr())
	})
	t.Run("redis", func(t *testing.T) {
		if os.Getenv("TEST_REDIS") == "" && os.Getenv("TEST_REQUIRE_REAL") != "1" {
			t.Skip("TEST_REDIS is not set: embedded servers only")
		}
		overTLS(t, ca, startTLS(t, ca))
	})
}

func overTLS(t *testing.T, ca *testkit.CA, addr string) {
	password := filepath.Join(t.TempDir(), "password")
	write := func(s string) {
		if err := os.WriteFile(password, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("correct horse")
	good := config("rediss://doorstep@" + addr)
	good.CAFile, good.PasswordFile = ca.File, password
	good.CertFile, good.KeyFile = ca.Client(t, "sender")
	if _, err := connect(t, good).Dedupe().Seen(t.Context(), one); err != nil {
		t.Errorf("with all that is asked for: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*redisstate.Config)
		want   string
	}{
		"no authority":   {func(c *redisstate.Config) { c.CAFile = "" }, "unknown authority"},
		"no certificate": {func(c *redisstate.Config) { c.CertFile, c.KeyFile = "", "" }, "tls: "},
		"no TLS":         {func(c *redisstate.Config) { *c = config("redis://doorstep:correct%20horse@" + addr) }, ""},
	} {
		cfg := good
		tt.change(&cfg)
		_, err := connect(t, cfg).Dedupe().Seen(t.Context(), one)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	// A new password is taken up by the next connection.
	write("battery staple")
	client := connect(t, good)
	if _, err := client.Dedupe().Seen(t.Context(), one); err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "staple") {
		t.Errorf("with a wrong password: %v", err)
	}
	write("correct horse")
	testkit.Eventually(t, 10*time.Second, func() error {
		_, err := client.Dedupe().Seen(t.Context(), one)
		return err
	})
}

// startTLS runs a Redis that speaks TLS alone, for one test.
func startTLS(t *testing.T, ca *testkit.CA) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cert, key := ca.Server(t)
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", "0", "--save", "", "--dir", t.TempDir(),
		"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca.File, // certificates of clients are asked for by default
		"--user", "doorstep", "on", ">correct horse", "~*", "&*", "+@all", "--user", "default", "off")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	testkit.Eventually(t, 10*time.Second, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return fmt.Errorf("redis does not start: %w", err)
		}
		return c.Close()
	})
	return addr
}

func TestTLSSettingsThatDoNotFit(t *testing.T) {
	for want, cfg := range map[string]redisstate.Config{
		"need a redis-url that begins with rediss://": {URL: "redis://localhost", CAFile: "f"},
		"redis-ca-file: open /missing":                {URL: "rediss://localhost", CAFile: "/missing"},
		"redis-cert-file: needs redis-key-file":       {URL: "rediss://localhost", CertFile: "f"},
		"redis-password-file: the redis-url holds":    {URL: "redis://:hidden-word@localhost", PasswordFile: "f"},
		"redis-password-file: open /missing":          {URL: "redis://localhost", PasswordFile: "/missing"},
	} {
		_, err := redisstate.Connect(cfg)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden-word") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
