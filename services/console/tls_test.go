package console_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// Over TLS it speaks HTTP/2, and tells those who do not speak TLS.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	cfg := config(t, ownLog(t), sqldbtest.SQLite(t))
	cfg.TLS.CertFile, cfg.TLS.KeyFile = ca.Server(t)
	c := start(t, cfg)
	c.awaitReady()
	for name, tt := range map[string]struct {
		url, want string
		transport *http.Transport
	}{
		"HTTP/2":   {"https://", "HTTP/2.0 200", &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}}},
		"HTTP/1.1": {"https://", "HTTP/1.1 200", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}}},
		"plain":    {"http://", "HTTP/1.0 400 Client sent an HTTP request to an HTTPS server", &http.Transport{}},
	} {
		resp, err := (&http.Client{Transport: tt.transport}).Get(tt.url + c.svc.Addr() + "/api/openapi.json")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		tt.transport.CloseIdleConnections()
		if got := resp.Proto + " " + resp.Status[:3] + " " + string(b); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %.100s, want %s", name, got, tt.want)
		}
	}
}
