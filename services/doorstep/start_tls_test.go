package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// The admin address of a service that runs alone speaks TLS, and shows a rotated certificate to the next connection.
func TestAdminOverTLS(t *testing.T) {
	t.Parallel()
	ca, next := testkit.NewCA(t), testkit.NewCA(t)
	cert, key := ca.Server(t)
	p, err := startProgram(t, "matcher", []string{
		"DOORSTEP_KAFKA_BROKERS=127.0.0.1:1", "DOORSTEP_REDIS_URL=redis://127.0.0.1:1", "DOORSTEP_TLS_CERT_FILE=" + cert, "DOORSTEP_TLS_KEY_FILE=" + key,
	})
	if err != nil {
		t.Fatal(err)
	}
	healthz := func(of *testkit.CA) error {
		var l struct{ Msg, Admin string }
		for line := range strings.Lines(p.logged()) {
			if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "started" {
				break
			}
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: of.Pool(), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
		resp, err := (&http.Client{Timeout: 5 * time.Second, Transport: transport}).Get("https://" + l.Admin + "/healthz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%d", resp.StatusCode)
		}
		return nil
	}
	if err := await(20*time.Second, func() error { return healthz(ca) }); err != nil {
		t.Fatalf("%v: %s", err, p.logged())
	}
	if status, body := p.ask("/healthz"); status != 400 || !strings.Contains(body, "HTTPS server") {
		t.Errorf("without TLS: %d %s", status, body)
	}
	newCert, newKey := next.Server(t)
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err == nil {
			err = os.Chtimes(to, time.Now(), time.Now().Add(time.Hour))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := healthz(next); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}
