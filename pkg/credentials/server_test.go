package credentials_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// listens serves TLS that says nothing but its handshake.
func listens(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Write([]byte("y"))
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// shown is the certificate that a server shows, and what it refuses.
func shown(addr string, client *tls.Config) (*x509.Certificate, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, client)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil { // TLS 1.3 tells of a refused client only here
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

// replace puts a file in the place of another, as a rotation does.
func replace(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", b, 0o600)
	}
	if err == nil { // some file systems keep times to the second
		err = os.Chtimes(to+".new", time.Now(), time.Now().Add(time.Hour))
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRotatedCertificateIsUsedNext(t *testing.T) {
	t.Parallel()
	old, next := testkit.NewCA(t), testkit.NewCA(t)
	cert, key := old.Server(t)
	var said bytes.Buffer
	config, err := credentials.Serving{CertFile: cert, KeyFile: key}.Config(slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	addr := listens(t, config)
	first, err := shown(addr, &tls.Config{RootCAs: old.Pool(), MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := shown(addr, &tls.Config{RootCAs: old.Pool(), MinVersion: tls.VersionTLS12}); err != nil || !again.Equal(first) {
		t.Errorf("unchanged files: %v", err)
	}
	newCert, newKey := next.Server(t)
	replace(t, newCert, cert) // and not yet its key: a connection meanwhile goes on as before
	if again, err := shown(addr, &tls.Config{RootCAs: old.Pool(), MinVersion: tls.VersionTLS12}); err != nil || !again.Equal(first) {
		t.Errorf("half of a rotation: %v", err)
	}
	replace(t, newKey, key)
	if _, err = shown(addr, &tls.Config{RootCAs: next.Pool(), MinVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
	if strings.Count(said.String(), "cannot be used") != 1 || strings.Count(said.String(), "read again") != 1 {
		t.Errorf("logged: %s", said.String())
	}
}

func TestClientsMustShowACertificate(t *testing.T) {
	t.Parallel()
	ca, other := testkit.NewCA(t), testkit.NewCA(t)
	cert, key := ca.Server(t)
	config, err := credentials.Serving{CertFile: cert, KeyFile: key, ClientCAFile: ca.File}.Config(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	addr := listens(t, config)
	client := func(ca *testkit.CA) *tls.Config {
		c, err := credentials.TLS{CAFile: ca.File}.Config()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	with := func(of *testkit.CA) *tls.Config {
		certFile, keyFile := of.Client(t, "producer")
		c, err := credentials.TLS{CAFile: ca.File, CertFile: certFile, KeyFile: keyFile}.Config()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if _, err := shown(addr, with(ca)); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	for name, c := range map[string]*tls.Config{"without a certificate": client(ca), "with another authority's": with(other)} {
		if _, err := shown(addr, c); err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	old := client(ca)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := shown(addr, old); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

func TestServerSettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	cert, key := ca.Server(t)
	_, other := ca.Client(t, "other")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all := credentials.ServerTLS{CertFile: cert, KeyFile: key}
	for name, tt := range map[string]struct {
		all  credentials.ServerTLS
		own  credentials.ListenerTLS
		ca   string
		want string // the error; empty: TLS, "plain": none
	}{
		"nothing":                        {want: "plain"},
		"all have TLS":                   {all: all},
		"but this one":                   {all: all, own: credentials.ListenerTLS{Plain: true}, want: "plain"},
		"it has its own":                 {all: credentials.ServerTLS{CertFile: "none", KeyFile: "none"}, own: credentials.ListenerTLS{CertFile: cert, KeyFile: key}},
		"both":                           {own: credentials.ListenerTLS{CertFile: cert, KeyFile: key, Plain: true}, want: "admin-plain: "},
		"no key":                         {all: credentials.ServerTLS{CertFile: cert}, want: "tls-cert-file: needs tls-key-file"},
		"no certificate":                 {own: credentials.ListenerTLS{KeyFile: key}, want: "admin-tls-key-file: needs admin-tls-cert-file"},
		"an authority, but plain":        {ca: ca.File, want: "tls-client-ca-file: needs tls-cert-file"},
		"no such file":                   {all: credentials.ServerTLS{CertFile: "none", KeyFile: key}, want: "tls-cert-file, tls-key-file: open none"},
		"no certificate in it":           {own: credentials.ListenerTLS{CertFile: empty, KeyFile: key}, want: "admin-tls-cert-file, admin-tls-key-file: "},
		"the key of another":             {all: credentials.ServerTLS{CertFile: cert, KeyFile: other}, want: "does not match"},
		"no such authority":              {all: all, ca: "none", want: "tls-client-ca-file: open none"},
		"no certificate of an authority": {all: all, ca: empty, want: "tls-client-ca-file: " + empty + " holds no certificate"},
	} {
		s, err := tt.all.Of("admin", tt.own, tt.ca)
		var config *tls.Config
		if err == nil {
			config, err = s.Config(slog.New(slog.DiscardHandler))
		}
		switch {
		case tt.want == "" || tt.want == "plain":
			if err != nil || (config == nil) != (tt.want == "plain") {
				t.Errorf("%s: %v, %v", name, config != nil, err)
			}
		case err == nil || !strings.Contains(err.Error(), tt.want):
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}
