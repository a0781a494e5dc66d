package credentials

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// ServerTLS is the TLS of all listeners of a process. The zero ServerTLS is none: they are plain.
type ServerTLS struct {
	CertFile string `name:"tls-cert-file" env:"DOORSTEP_TLS_CERT_FILE" type:"path" placeholder:"FILE" help:"Certificate of all listeners (gRPC, HTTP, admin), PEM, with what stands between it and a root: they speak TLS 1.2 or later, and probes and metrics answer over https as well. Read again when it changes. Empty: they are plain."`
	KeyFile  string `name:"tls-key-file" env:"DOORSTEP_TLS_KEY_FILE" type:"path" placeholder:"FILE" help:"Private key of tls-cert-file, PEM, not encrypted."`
}

// ListenerTLS is what one listener has otherwise than all. Its settings begin with the listener's name.
type ListenerTLS struct {
	CertFile string `name:"tls-cert-file" env:"TLS_CERT_FILE" type:"path" placeholder:"FILE" help:"Another certificate for this listener."`
	KeyFile  string `name:"tls-key-file" env:"TLS_KEY_FILE" type:"path" placeholder:"FILE" help:"Private key of this certificate."`
	Plain    bool   `name:"plain" env:"PLAIN" help:"No TLS on this listener, whatever tls-cert-file says."`
}

// Serving is the TLS of one listener: what it shows and, with a CA file, whom it lets in. The zero Serving is plain.
type Serving struct {
	Settings     string // what the names of the certificate's settings begin with, for errors: "admin-"
	CertFile     string // PEM, with what stands between it and a root
	KeyFile      string // PEM, not encrypted
	ClientCAFile string // PEM; clients must show a certificate that one of these has signed; empty: they need none
}

// Of is the TLS of the listener called name, which may have its own. It errs if settings contradict each other or one
// misses another.
func (all ServerTLS) Of(name string, own ListenerTLS, clientCAFile string) (Serving, error) {
	s := Serving{CertFile: all.CertFile, KeyFile: all.KeyFile, ClientCAFile: clientCAFile}
	if own.CertFile != "" || own.KeyFile != "" {
		s.Settings, s.CertFile, s.KeyFile = name+"-", own.CertFile, own.KeyFile
	}
	switch {
	case own.Plain && s.Settings != "":
		return s, fmt.Errorf("%s-plain: also given a certificate by %s-tls-cert-file; only one can be meant", name, name)
	case s.CertFile != "" && s.KeyFile == "":
		return s, fmt.Errorf("%stls-cert-file: needs %stls-key-file", s.Settings, s.Settings)
	case s.KeyFile != "" && s.CertFile == "":
		return s, fmt.Errorf("%stls-key-file: needs %stls-cert-file", s.Settings, s.Settings)
	case clientCAFile != "" && (own.Plain || s.CertFile == ""):
		return s, errors.New("tls-client-ca-file: needs tls-cert-file: without TLS nobody shows a certificate")
	case own.Plain:
		return Serving{}, nil
	}
	return s, nil
}

// Config is the server's side of TLS; nil: plain. Its files are looked at in each handshake, and read again once they
// have changed; what cannot be used then is told to log, and the last that could goes on. It errs if a file cannot
// be used now.
func (s Serving) Config(log *slog.Logger) (*tls.Config, error) {
	if s.CertFile == "" {
		return nil, nil //nolint:nilnil // plain is no error
	}
	k := &kept{serving: s, log: log}
	config, err := s.read()
	if err != nil {
		return nil, err
	}
	k.config, k.stamp = config, s.stamp()
	outer := config.Clone() // protocols that a server adds are read from here
	outer.GetConfigForClient = k.current
	return outer, nil
}

// read reads the files.
func (s Serving) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%stls-cert-file, %stls-key-file: %w", s.Settings, s.Settings, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if s.ClientCAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("tls-client-ca-file: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls-client-ca-file: %s holds no certificate in PEM", s.ClientCAFile)
	}
	return config, nil
}

// stamp changes whenever a file does.
func (s Serving) stamp() string {
	var b strings.Builder
	for _, file := range []string{s.CertFile, s.KeyFile, s.ClientCAFile} {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&b, "%d %d;", info.ModTime().UnixNano(), info.Size())
		}
	}
	return b.String()
}

// kept is a listener's configuration until its files change. One object goes on as long as they do not, since it
// holds the keys by which sessions are resumed.
type kept struct {
	serving Serving
	log     *slog.Logger

	mu     sync.Mutex
	config *tls.Config
	stamp  string
}

func (k *kept) current(*tls.ClientHelloInfo) (*tls.Config, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stamp := k.serving.stamp()
	if stamp == k.stamp {
		return k.config, nil
	}
	k.stamp = stamp // what is wrong with these files is told once
	config, err := k.serving.read()
	if err != nil {
		k.log.Warn("changed TLS files cannot be used; the last ones go on", "error", err)
		return k.config, nil
	}
	k.config = config
	k.log.Info("TLS files were read again", "certificate_ends", config.Certificates[0].Leaf.NotAfter.UTC().Format(time.RFC3339))
	return config, nil
}
