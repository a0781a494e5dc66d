// Package credentials is what a client shows to a server, and whom it trusts: passwords and TLS, from
// settings and files; and the same for the listeners of a server.
//
// A password and a certificate in a file are read again for each new connection, so a rotated one
// is taken up without a restart. Errors name the setting and the file, and never what is in it.
package credentials

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
)

// TLS says which servers to trust and who we are to them. The zero TLS trusts whom the system trusts and
// shows no certificate.
type TLS struct {
	Settings   string // what the names of the settings begin with, for errors: "kafka-"
	CAFile     string // PEM; its certificates alone are trusted
	CertFile   string // PEM, with what stands between it and a root
	KeyFile    string // PEM, not encrypted
	ServerName string // expected in the server's certificate; empty: the host that is dialled
}

// Validate says which setting misses another.
func (t TLS) Validate() error {
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		return fmt.Errorf("%scert-file: needs %skey-file", t.Settings, t.Settings)
	case t.KeyFile != "" && t.CertFile == "":
		return fmt.Errorf("%skey-file: needs %scert-file", t.Settings, t.Settings)
	}
	return nil
}

// Config is the client's side of TLS. It errs if a file cannot be used.
func (t TLS) Config() (*tls.Config, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%sca-file: %w", t.Settings, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%sca-file: %s holds no certificate in PEM", t.Settings, t.CAFile)
		}
	}
	if t.CertFile == "" {
		return config, nil
	}
	if _, err := t.pair(); err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.pair() }
	return config, nil
}

func (t TLS) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%scert-file, %skey-file: %w", t.Settings, t.Settings, err)
	}
	return &pair, nil
}

// Password is a secret given by value or in a file. It does not show itself when printed.
type Password struct {
	Setting string // its name, for errors: "kafka-password"
	Value   string
	File    string // its first line counts
}

// Validate says that a password is given in two ways.
func (p Password) Validate() error {
	if p.Value != "" && p.File != "" {
		return fmt.Errorf("%s: also given by %s-file; only one can be meant", p.Setting, p.Setting)
	}
	return nil
}

// Given reports whether there is one.
func (p Password) Given() bool { return p.Value != "" || p.File != "" }

// Read returns the password as it is now.
func (p Password) Read() (string, error) {
	if p.File == "" {
		return p.Value, nil
	}
	b, err := os.ReadFile(p.File)
	if err != nil {
		return "", fmt.Errorf("%s-file: %w", p.Setting, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s-file: the first line of %s is empty", p.Setting, p.File)
	}
	return line, nil
}

func (p Password) String() string { return p.Setting + " (hidden)" }

// GoString is String for %#v.
func (p Password) GoString() string { return p.String() }
