package hostile

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"strings"
	"time"
)

// tlsKinds never come to an answer, or spoil it beneath HTTP.
func tlsKinds() []Kind {
	return []Kind{
		{"TLS: is plain HTTP", tlsFailed, 0, "does not speak TLS", Nothing, secretly(then(readHello, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			hang(c)
		}))},
		{"TLS: says nothing", connectTimeout, 0, "TLS handshake", Connect, secretly(hang)},
		{"TLS: stalls in its first message", connectTimeout, 0, "TLS handshake", Connect, secretly(then(readHello, sends("\x16\x03\x03\x00\x7a\x02"), hang))},
		{"TLS: stalls after its hello", connectTimeout, 0, "TLS handshake", Connect, stallsAfter(0)},
		{"TLS: stalls in its certificate", connectTimeout, 0, "TLS handshake", Connect, stallsAfter(400)},
		{"TLS: drips its handshake", connectTimeout, 0, "TLS handshake", Connect, secretly(then(readHello, sends("\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb"), drips("\x03")))},
		{"TLS: closes at once", tlsFailed, 0, "closed the connection", Nothing, secretly(readHello)},
		{"TLS: resets in the handshake", tlsFailed, 0, "closed the connection", Nothing, secretly(then(readHello, reset))},
		{"TLS: sends empty records without end", tlsFailed, 0, "handshake", Nothing, secretly(then(readHello, repeats("\x16\x03\x03\x00\x00")))},
		{"TLS: sends warnings without end", tlsFailed, 0, "handshake", Nothing, secretly(then(readHello, repeats("\x15\x03\x03\x00\x02\x01\x5a")))},
		{"TLS: sends a handshake without end", tlsFailed, 0, "handshake", Nothing, secretly(then(readHello, repeats("\x16\x03\x03\x3f\xff"+strings.Repeat("\x0b\x03\xff\xff", 4096)[:0x3fff])))},
		{"TLS: sends a certificate of 150 KB", tlsFailed, 0, "over 64 KiB", Nothing, configured(func(c *tls.Config) { c.Certificates[0] = padded(c.Certificates[0], 100) })},
		{"TLS: is 1.0 only", tlsFailed, 0, "TLS 1.2 or newer", Nothing, configured(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 })},
		{"TLS: is 1.1 only", tlsFailed, 0, "TLS 1.2 or newer", Nothing, configured(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 })},
		{"TLS: chooses 1.0", tlsFailed, 0, "TLS 1.2 or newer", Nothing, secretly(then(readHello, sends(hello(0x0301, 0x002f)), hang))},
		{"TLS: chooses a cipher nobody offered", tlsFailed, 0, "handshake", Nothing, secretly(then(readHello, sends(hello(0x0303, 0x0005)), hang))},
		{"TLS: has no cipher in common", tlsFailed, 0, "ended the TLS handshake", Nothing, secretly(then(readHello, sends("\x15\x03\x03\x00\x02\x02\x28"), hang))},
		{"TLS: is self-signed", tlsFailed, 0, "self-signed", Nothing, selfSigned()},
		{"TLS: has expired", tlsFailed, 0, "expired", Nothing, issued(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
		{"TLS: is not valid yet", tlsFailed, 0, "not valid yet", Nothing, issued(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })},
		{"TLS: is another host", tlsFailed, 0, "not for 127.0.0.1", Nothing, issued(func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"hooks.example"}
		})},
		{"TLS: is for clients", tlsFailed, 0, "certificate", Nothing, issued(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
		{"TLS: demands a certificate", tlsFailed, 0, "no client certificate", Nothing, configured(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })},
		{"TLS: demands a certificate, 1.2", tlsFailed, 0, "no client certificate", Nothing, configured(func(c *tls.Config) {
			c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		})},
		{"TLS: agrees on a protocol nobody offered", tlsFailed, 0, "handshake", Nothing, configured(func(c *tls.Config) { c.NextProtos = []string{"spdy/3"} })},
		{"TLS: ends behind the handshake", broken, 0, "without an answer", Nothing, over1(func(c net.Conn) { _ = c.Close() })},
		{"TLS: sends noise behind the handshake", tlsFailed, 0, "TLS", Nothing, over1(then(says(""), beneath("\x17\x03\x03\x00\x20"+strings.Repeat("n", 32))))},
		{"TLS: turns plain in the body", tlsFailed, 200, "TLS", Nothing, over1(then(says(ok+"Content-Length: 10\r\n\r\nabc"), beneath("HTTP/1.1 200 OK\r\n\r\n")))},
		{"TLS: renegotiates", tlsFailed, 0, "TLS", Nothing, renegotiates()},
	}
}

// secretly serves what claims to be https, without TLS of its own.
func secretly(f func(c net.Conn)) open {
	return open{"https", func(_ *Server, c *net.TCPConn) { f(c) }}
}

// configured serves HTTP/1 over TLS with another configuration; a request is answered 204.
func configured(change func(*tls.Config)) open {
	return open{"https", func(s *Server, c *net.TCPConn) {
		config := s.tls.Clone()
		config.Certificates = append([]tls.Certificate(nil), config.Certificates...)
		change(config)
		serveTLS(c, config)
	}}
}

func serveTLS(c net.Conn, config *tls.Config) {
	secure := tls.Server(c, config)
	if secure.Handshake() == nil {
		says("HTTP/1.1 204 No Content\r\n\r\n")(secure)
	}
	hang(c) // so that what was said is read before the connection goes
}

// readHello reads the client's first record.
func readHello(c net.Conn) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(c, head); err == nil {
		_, _ = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(head[3:])))
	}
}

func sends(text string) func(c net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// beneath writes to the network what TLS knows nothing of.
func beneath(text string) func(c net.Conn) {
	return func(c net.Conn) {
		if t, secure := c.(*tls.Conn); secure {
			_, _ = io.WriteString(t.NetConn(), text)
			hang(t.NetConn())
		}
	}
}

// hello is a server's first message, of a version and with a cipher.
func hello(version, cipher uint16) string {
	b := binary.BigEndian.AppendUint16([]byte{2, 0, 0, 38}, version)
	b = append(b, make([]byte, 32+1)...) // random, no session
	b = append(binary.BigEndian.AppendUint16(b, cipher), 0)
	return string(append(binary.BigEndian.AppendUint16([]byte{22, 3, 1}, uint16(len(b))), b...)) //nolint:gosec // a few bytes
}

// stallsAfter stalls when so many bytes were written behind the first record.
func stallsAfter(n int) open {
	return open{"https", func(s *Server, c *net.TCPConn) {
		config := s.tls.Clone()
		config.MaxVersion = tls.VersionTLS12 // of which each message is a record of its own
		_ = tls.Server(&stalling{Conn: c, left: n}, config).Handshake()
	}}
}

// stalling hangs when more than left bytes are written behind the first 90.
type stalling struct {
	net.Conn
	left int
}

func (s *stalling) Write(p []byte) (int, error) {
	n := min(len(p), 90+s.left)
	_, _ = s.Conn.Write(p[:n])
	hang(s.Conn)
	return 0, net.ErrClosed
}

// padded is a certificate with a chain of so many more, of a kilobyte each.
func padded(c tls.Certificate, n int) tls.Certificate {
	chain := append([][]byte(nil), c.Certificate...)
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return c
		}
		one := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 1), Subject: pkix.Name{CommonName: strings.Repeat("x", 700)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		if der, err := x509.CreateCertificate(rand.Reader, one, one, key.Public(), key); err == nil {
			chain = append(chain, der)
		}
		if c.PrivateKey == nil {
			c.PrivateKey = key
		}
	}
	c.Certificate = chain
	return c
}

// issued serves a certificate of the authority's, changed.
func issued(change func(*x509.Certificate)) open {
	return open{"https", func(s *Server, c *net.TCPConn) {
		config := s.tls.Clone()
		if one, err := s.authority.Certificate(change); err == nil {
			config.Certificates = []tls.Certificate{one}
			serveTLS(c, config)
		}
	}}
}

// selfSigned serves a certificate that nobody else has signed.
func selfSigned() open {
	return configured(func(config *tls.Config) { config.Certificates[0] = padded(tls.Certificate{}, 1) })
}

// renegotiates asks for another handshake in the middle of TLS 1.2.
func renegotiates() open {
	return open{"https", func(s *Server, c *net.TCPConn) {
		var keys bytes.Buffer
		config := s.tls.Clone()
		config.MaxVersion, config.KeyLogWriter = tls.VersionTLS12, &keys
		config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		spy := &spying{Conn: c}
		secure := tls.Server(spy, config)
		if secure.Handshake() != nil {
			return
		}
		_, _ = Request(bufio.NewReader(secure))
		if record, err := helloRequest(keys.String(), spy.random); err == nil {
			_, _ = c.Write(record)
		}
		hang(c)
	}}
}
