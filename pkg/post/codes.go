package post

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// The values of delivery.Outcome.ErrorCode. They are stable.
const (
	CodeURL            = egress.CodeURL       // the URL may not be a target
	CodeAddress        = egress.CodeAddress   // its host's addresses may not be dialled
	CodeDNS            = "dns"                // the host's name has no address, or could not be looked up
	CodeConnectTimeout = "connect_timeout"    // DNS, dial and TLS were not done in time
	CodeRefused        = "connection_refused" // nothing listens there
	CodeUnreachable    = "unreachable"        // there is no route to it
	CodeTLS            = "tls"                // the TLS handshake failed
	CodeReset          = "connection_reset"   // the receiver closed the connection before the answer's end
	CodeTimeout        = "timeout"            // connected, but no complete answer in time, or the receiver reads no more
	CodeProtocol       = "protocol"           // the answer is not HTTP
	CodeTooLarge       = "response_too_large" // the answer's headers or body are larger than allowed
	CodeRedirect       = "redirect"           // 3xx
	CodeStatus         = "status"             // any other status but 2xx
	CodeCancelled      = "cancelled"          // the caller's context ended; not the receiver's fault
	CodeLocal          = "local"              // Doorstep ran out of ports, files or memory; not the receiver's fault
)

// refused notes that the egress policy refused the URL.
func refused(out *delivery.Outcome, err error) {
	out.ErrorCode, out.Error = CodeURL, clip(err.Error())
	if refusal := new(egress.Error); errors.As(err, &refusal) {
		out.ErrorCode = refusal.Code
	}
}

// stopped is said of an attempt that a stop cut short.
const stopped = "the attempt was given up because Doorstep stopped; nothing is to be done, it is made again"

// timedOut is the code and the words for an attempt that ran out of time.
func timedOut(connected bool, status int, limit time.Duration) (code, words string) {
	switch {
	case !connected:
		return CodeConnectTimeout, fmt.Sprintf("there was no connection to the receiver within %s; check that its host is up and lets Doorstep in", limit)
	case status == 0:
		return CodeTimeout, fmt.Sprintf("the receiver did not answer within %s; it should answer first and do its work afterwards, or raise the webhook's timeout_seconds (at most 30)", limit)
	default:
		return CodeTimeout, fmt.Sprintf("the receiver answered %d but its answer did not end within %s; it should send a short one, at once", status, limit)
	}
}

func connectTimedOut(stage stage, remote string, limit time.Duration) string {
	if stage == stageDNS || remote == "" {
		return fmt.Sprintf("there was no connection to the receiver within %s: %s took too long; check its DNS servers", limit, stageDNS)
	}
	return fmt.Sprintf("there was no connection to %s within %s: %s took too long; check that its host is up and its firewall lets Doorstep in", remote, limit, stage)
}

// explain notes why an attempt failed otherwise than by time.
func explain(out *delivery.Outcome, err error, reused bool) {
	if f := new(failure); errors.As(err, &f) {
		f.opened.describe(out)
		out.ErrorCode, out.Error = f.code, clip(f.words)
		return
	}
	out.ErrorCode, out.Error = CodeProtocol, notHTTP(err)
	field := new(fieldError)
	switch {
	case errors.As(err, &field):
		out.Error = field.Error()
	case errors.Is(err, errTooLarge):
		out.ErrorCode = CodeTooLarge
		out.Error = fmt.Sprintf("the receiver answered %d with a body over %d KiB; it should send a short one", out.StatusCode, MaxBodyBytes>>10)
	case headersTooLarge(err):
		out.ErrorCode = CodeTooLarge
		out.Error = fmt.Sprintf("the headers of the receiver's answer are over %d KiB; it should send fewer or shorter ones", MaxHeaderBytes>>10)
	case errors.Is(err, errFlood):
		out.ErrorCode = CodeTooLarge
		out.Error = fmt.Sprintf("the receiver sent over %d KiB on the connection for one attempt; it should send an answer and no more, look for the cause in its log or its proxy's", http2AttemptBytes>>10)
	case errors.Is(err, errBlocked):
		out.ErrorCode = CodeTimeout
		out.Error = "the receiver stopped reading what was sent on its HTTP/2 connection, which was given up with all requests on it; look for the cause in its log or its proxy's"
	case errors.Is(err, errTurnedAway), tookNone(err):
		out.ErrorCode = CodeReset
		out.Error = "the receiver opens HTTP/2 connections but takes no request on them; look for the cause in its log or its proxy's, and at its limit of streams"
	case tlsFault(err):
		out.ErrorCode, out.Error = CodeTLS, tlsWords(err)
	case brokenOff(err):
		out.ErrorCode, out.Error = CodeReset, brokenOffWords(err)
	case closed(err) && out.StatusCode != 0:
		out.ErrorCode = CodeReset
		out.Error = fmt.Sprintf("the receiver answered %d but closed the connection before the answer's end; look for the cause in its log or its proxy's", out.StatusCode)
	case closed(err) && reused:
		out.ErrorCode = CodeReset
		out.Error = "the receiver closed a connection that was kept open while a request was on its way; it should keep idle connections longer"
	case closed(err):
		out.ErrorCode = CodeReset
		out.Error = "the receiver closed the connection without an answer; look for the cause in its log or its proxy's"
	}
}

// tookNone reports whether err says that a connection of HTTP/2 took no request. Its library has no name for it.
func tookNone(err error) bool { return strings.Contains(err.Error(), "client conn not usable") }

// brokenOff reports whether err says that the receiver ended the exchange by a frame of HTTP/2.
func brokenOff(err error) bool {
	text := err.Error()
	return strings.Contains(text, "received from peer") || strings.Contains(text, "GOAWAY")
}

func brokenOffWords(err error) string {
	const look = "look for the cause in its log or its proxy's"
	text := err.Error()
	switch {
	case strings.Contains(text, "HTTP_1_1_REQUIRED"):
		return "the receiver wants HTTP/1.1 but offers HTTP/2 in its TLS handshake; it must offer what it takes"
	case strings.Contains(text, "REFUSED_STREAM"):
		return "the receiver refused the request on HTTP/2 each time, for too many at once; check its limit of streams, or lower the max_in_flight of the webhook"
	case strings.Contains(text, "GOAWAY"):
		return "the receiver closed the HTTP/2 connection (GOAWAY) before it answered; " + look
	}
	return "the receiver reset the HTTP/2 stream before the answer's end; " + look
}

// tlsFault reports whether err is one of TLS behind the handshake: in TLS 1.3 a receiver judges the
// client only then.
func tlsFault(err error) bool {
	var (
		remote *net.OpError
		record tls.RecordHeaderError
	)
	return errors.As(err, &remote) && (remote.Op == tlsRemote || remote.Op == tlsLocal) || errors.As(err, &record) || strings.HasPrefix(err.Error(), "tls: ")
}

// What crypto/tls calls an alert that it got, and one that it sent.
const (
	tlsRemote = "remote error"
	tlsLocal  = "local error"
)

// notHTTP says why an answer cannot be read. What the library says is not repeated: it quotes the answer.
func notHTTP(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "malformed HTTP"):
		return "the receiver's answer does not begin as HTTP does; check the webhook's port, that a web server listens there, and whether it serves http or https"
	case strings.Contains(text, "malformed MIME"), strings.Contains(text, "invalid header"), strings.Contains(text, "Content-Length"), strings.Contains(text, "transfer encoding"):
		return "the headers of the receiver's answer are not valid HTTP; look for the cause in what writes them, the receiver or its proxy"
	case strings.Contains(text, "chunk"), strings.Contains(text, "line too long"):
		return "the body of the receiver's answer is not validly chunked; look for the cause in what writes it, the receiver or its proxy"
	case strings.Contains(text, "http2"), strings.Contains(text, "stream error"), strings.Contains(text, "connection error"):
		return fmt.Sprintf("the receiver's answer is not valid HTTP/2, or has headers far over %d KiB; look for the cause in what writes it, the receiver or its proxy", MaxHeaderBytes>>10)
	}
	return "the receiver's answer is not valid HTTP; look for the cause in its log or its proxy's"
}

// closed reports whether err says that the other side closed the connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "http2: client conn") // of several; the library has no names for them
}

// headersTooLarge reports whether err says that the answer's headers passed MaxHeaderBytes.
func headersTooLarge(err error) bool {
	return errors.Is(err, errHeadTooLarge) || strings.Contains(err.Error(), "header list ") // HTTP/2, which has no name for it
}

// dialWords is the code and the words for a dial that failed otherwise than by time.
func dialWords(err error, remote string) (code, words string) {
	if refusal := new(egress.Error); errors.As(err, &refusal) {
		// Which address is not told: it may be one of the operator's own network.
		return CodeAddress, "the webhook's host leads to an address that is not public, and webhooks are sent to public addresses only; point its name in DNS to a public one"
	}
	if dns := new(net.DNSError); errors.As(err, &dns) {
		name := shown(strings.TrimSuffix(dns.Name, ".")) // as the URL has it
		if dns.IsNotFound {
			return CodeDNS, fmt.Sprintf("the host %s has no address in DNS; check the webhook's URL", name)
		}
		return CodeDNS, fmt.Sprintf("the name %s could not be looked up; check the DNS servers of its domain", name)
	}
	for _, local := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, local) {
			return CodeLocal, "Doorstep could not open a connection for lack of resources of its own (" + local.Error() + "); nothing is to be done at the receiver, it is tried again"
		}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return CodeRefused, fmt.Sprintf("%s refused the connection: nothing listens there; check that the receiver runs, and the port", remote)
	case errors.Is(err, syscall.ECONNRESET):
		return CodeReset, fmt.Sprintf("%s closed the connection at once; check its firewall", remote)
	case errors.Is(err, context.Canceled):
		return CodeCancelled, "the connection was not needed any more; nothing is to be done"
	default:
		return CodeUnreachable, fmt.Sprintf("%s cannot be reached (%s); check the host's address in DNS, and that its network lets Doorstep in", cmp.Or(remote, "the receiver"), shown(plain(err).Error()))
	}
}

// plain is the system's error within err, without the addresses around it.
func plain(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// tlsWords is why a TLS handshake failed.
func tlsWords(err error) string {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     *net.OpError
	)
	switch {
	case errors.Is(err, errFlood):
		return fmt.Sprintf("the receiver's TLS handshake is over %d KiB; it should send its own certificate and the intermediate ones, and no more", maxHandshakeBytes>>10)
	case errors.As(err, &authority):
		return "the receiver's certificate is not signed by an authority that is trusted here; use one of a public authority, not a self-signed one, and let the server send the intermediate certificates too"
	case errors.As(err, &hostname):
		return fmt.Sprintf("the receiver's certificate is not for %s; check the host in the webhook's URL, or get a certificate for it", shown(hostname.Host))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the receiver's certificate has expired or is not valid yet; renew it"
	case errors.As(err, &record):
		return "the receiver does not speak TLS on this port; check the port, and that the receiver serves https"
	case strings.Contains(err.Error(), "unsupported protocol version"):
		return "the receiver chose a version of TLS that is too old; it must offer TLS 1.2 or newer"
	case errors.As(err, &alert) && alert.Op == tlsRemote:
		return fmt.Sprintf("the receiver ended the TLS handshake (%s); it must offer TLS 1.2 or newer and ask for no client certificate", shown(alert.Err.Error()))
	case closed(err):
		return "the receiver closed the connection during the TLS handshake; check that it serves https on this port"
	default:
		return fmt.Sprintf("the TLS handshake with the receiver failed (%s); check its certificate and its TLS settings", shown(err.Error()))
	}
}

// Lengths in bytes: of all words, and of a part that others wrote.
const (
	maxWords = 300
	maxShown = 100
)

// clip keeps words short and valid UTF-8: others write parts of them.
func clip(s string) string { return cut(s, maxWords) }

// shown is such a part, so short that the words behind it are read too.
func shown(s string) string { return cut(s, maxShown) }

func cut(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-len("...")], "") + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
