package post

import (
	"crypto/tls"
	"net/http"
	"time"

	"golang.org/x/net/http2"
)

type (
	http2Transport = http2.Transport  //nolint:staticcheck // see newTransport
	http2Conn      = http2.ClientConn //nolint:staticcheck // see newTransport
)

// newTransport is the settings of HTTP/2 by golang.org/x/net. It is deprecated for what net/http has of its own, which
// in Go 1.26 locks itself up, with all attempts on the connection and for ever, when a receiver lets a stream's
// window overflow (WINDOW_UPDATE beyond 2^31-1).
func newTransport() *http2Transport {
	settings := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: MaxHeaderBytes, HTTP2: http2Config()}
	//nolint:staticcheck // see above
	transport, err := http2.ConfigureTransports(settings)
	if err != nil {
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
		// A request is one record: small ones first would be for pages that are shown while they come.
		DynamicRecordSizingDisabled: true,
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
