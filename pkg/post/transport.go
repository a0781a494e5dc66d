package post

import (
	"crypto/tls"
	"net/http"
	"time"

	"golang.org/x/net/http2"
)

// newTransport is net/http's transport with the HTTP/2 of golang.org/x/net. The one in Go 1.26 locks
// itself up, with all attempts on the connection and for ever, when a receiver lets a stream's window
// overflow (WINDOW_UPDATE beyond 2^31-1).
func newTransport(config Config, d *dialer) *http.Transport {
	transport := &http.Transport{
		Proxy:                  nil, // a proxy would dial addresses that nobody judged
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		DisableCompression:     true,
		MaxIdleConns:           config.MaxIdle,
		MaxIdleConnsPerHost:    config.MaxIdle, // one busy receiver may use them all
		IdleConnTimeout:        config.IdleTimeout,
		MaxResponseHeaderBytes: MaxHeaderBytes,
		HTTP2:                  http2Config(),
	}
	//nolint:staticcheck // deprecated for what net/http has of its own; see above
	if _, err := http2.ConfigureTransports(transport); err != nil {
		panic("post: " + err.Error()) // only of a transport that was configured before
	}
	return transport
}

// http2Config bounds what is wide by default (4 MiB of each answer in memory), and finds out about a
// connection that died silently before the attempts that share it have run out of time.
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxReceiveBufferPerStream:     MaxBodyBytes,
		MaxReceiveBufferPerConnection: 16 * MaxBodyBytes,
		SendPingTimeout:               3 * time.Second,
		PingTimeout:                   5 * time.Second,
		WriteByteTimeout:              5 * time.Second,
	}
}

// protocolHTTP2 is HTTP/2's name in TLS.
const protocolHTTP2 = "h2"

func tlsConfig(c Config) *tls.Config {
	return &tls.Config{
		RootCAs:            c.RootCAs,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{protocolHTTP2, "http/1.1"},
		ClientSessionCache: smallSessions{tls.NewLRUClientSessionCache(c.MaxIdle)},
	}
}

// maxSessionBytes bounds a TLS session that is kept for later, the receiver's ticket and certificates
// included: there are as many as idle connections.
const maxSessionBytes = 16 << 10

// smallSessions keeps no large ones.
type smallSessions struct{ tls.ClientSessionCache }

func (s smallSessions) Put(key string, session *tls.ClientSessionState) {
	if session != nil && !small(session) {
		return
	}
	s.ClientSessionCache.Put(key, session)
}

func small(session *tls.ClientSessionState) bool {
	ticket, state, err := session.ResumptionState()
	if err != nil || state == nil {
		return false
	}
	b, err := state.Bytes()
	return err == nil && len(ticket)+len(b) <= maxSessionBytes
}
