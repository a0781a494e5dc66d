package client

import (
	"crypto/tls"
	"net"
	"net/http"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
)

// TLS is whom the client commands trust over https, and who they are to a Doorstep that wants to know.
type TLS struct {
	CAFile   string `name:"ca-file" env:"DOORSTEP_CA_FILE" type:"path" placeholder:"FILE" help:"For https: trust the authorities in this file, PEM, and no others. Empty: those of the system."`
	CertFile string `name:"client-cert-file" env:"DOORSTEP_CLIENT_CERT_FILE" type:"path" placeholder:"FILE" help:"For https: a certificate, PEM, where Doorstep wants one of its callers."`
	KeyFile  string `name:"client-key-file" env:"DOORSTEP_CLIENT_KEY_FILE" type:"path" placeholder:"FILE" help:"Private key of client-cert-file."`
}

// Config is the client's side of TLS. It errs if a file cannot be used.
func (t TLS) Config() (*tls.Config, error) {
	config, err := credentials.TLS{CAFile: t.CAFile}.Config()
	if err != nil {
		return nil, err
	}
	shown, err := credentials.TLS{Settings: "client-", CertFile: t.CertFile, KeyFile: t.KeyFile}.Config()
	if err != nil {
		return nil, err
	}
	config.GetClientCertificate = shown.GetClientCertificate
	return config, nil
}

func transport(secure *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: secure,
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
	}
}
