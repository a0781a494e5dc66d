package post

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// Failures of the machine, which a test cannot bring about for one client alone.
func TestDialWords(t *testing.T) {
	dial := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	for name, tt := range map[string]struct {
		err  error
		code string
	}{
		"out of files":      {dial(syscall.EMFILE), CodeLocal},
		"out of ports":      {dial(syscall.EADDRNOTAVAIL), CodeLocal},
		"out of memory":     {dial(syscall.ENOBUFS), CodeLocal},
		"nothing listens":   {dial(syscall.ECONNREFUSED), CodeRefused},
		"reset at once":     {dial(syscall.ECONNRESET), CodeReset},
		"no route":          {dial(syscall.EHOSTUNREACH), CodeUnreachable},
		"no network":        {dial(syscall.ENETUNREACH), CodeUnreachable},
		"not permitted":     {dial(syscall.EPERM), CodeUnreachable},
		"address refused":   {&net.OpError{Op: "dial", Err: &egress.Error{Code: egress.CodeAddress, Reason: "private"}}, CodeAddress},
		"no such name":      {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "a.example", IsNotFound: true}}, CodeDNS},
		"name server fails": {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "a.example", IsTemporary: true}}, CodeDNS},
	} {
		t.Run(name, func(t *testing.T) {
			code, words := dialWords(tt.err, "192.0.2.1:443")
			if code != tt.code || words == "" {
				t.Errorf("dialWords = %s, %q, want %s", code, words, tt.code)
			}
		})
	}
}

// advised reports whether words say what to do.
func advised(words string) bool {
	for _, advice := range []string{"check", "write it", "look", "set ", "use ", "leave", "renew", "should", "must", "point", "raise", "delete", "nothing is to be done"} {
		if strings.Contains(words, advice) {
			return true
		}
	}
	return false
}

func checkWords(t *testing.T, words string) {
	t.Helper()
	if !advised(words) {
		t.Errorf("no advice in %q", words)
	}
	if len(words) > maxWords || !utf8.ValidString(words) || strings.HasSuffix(words, "...") {
		t.Errorf("%d bytes, too long or not UTF-8: %q", len(words), words)
	}
	for _, said := range []string{quoted, "%!"} {
		if strings.Contains(words, said) {
			t.Errorf("the words hold %q: %q", said, words)
		}
	}
}

// quoted is what a receiver writes; no words may repeat it.
const quoted = "s3cret-of-the-receiver"

// Every code has words, short ones, that say what to do; hosts are as long as DNS allows.
func TestEveryCodeHasAdvice(t *testing.T) {
	long := strings.Repeat("long-label.", 22) + "example"
	dial := func(err error) func() (string, string) {
		return func() (string, string) { return dialWords(err, "[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:65535") }
	}
	errno := func(n syscall.Errno) func() (string, string) { return dial(os.NewSyscallError("connect", n)) }
	explained := func(err error, status int, reused bool) func() (string, string) {
		return func() (string, string) {
			out := delivery.Outcome{StatusCode: status}
			explain(&out, err, reused)
			return out.ErrorCode, out.Error
		}
	}
	handshake := func(err error) func() (string, string) {
		return func() (string, string) { return CodeTLS, tlsWords(err) }
	}
	late := func(connected bool, status int) func() (string, string) {
		return func() (string, string) { return timedOut(connected, status, 30*time.Second) }
	}
	lateAt := func(at stage, remote string) func() (string, string) {
		return func() (string, string) { return CodeConnectTimeout, connectTimedOut(at, remote, 5*time.Second) }
	}
	url := func(raw string) func() (string, string) {
		return func() (string, string) {
			_, err := egress.Policy{}.CheckURL(raw)
			var out delivery.Outcome
			refused(&out, err)
			return out.ErrorCode, out.Error
		}
	}
	answered := func(status int, location string) func() (string, string) {
		return func() (string, string) {
			from, _ := http.NewRequest(http.MethodPost, "https://hooks.example/a?token="+quoted, nil)
			return refusal(&http.Response{StatusCode: status, Request: from, Header: http.Header{"Location": {location}}})
		}
	}
	cases := map[string]struct {
		words func() (string, string)
		code  string
	}{
		"stopped":              {func() (string, string) { return CodeCancelled, stopped }, CodeCancelled},
		"not needed":           {dial(context.Canceled), CodeCancelled},
		"out of files":         {errno(syscall.EMFILE), CodeLocal},
		"nothing listens":      {errno(syscall.ECONNREFUSED), CodeRefused},
		"no route":             {errno(syscall.EHOSTUNREACH), CodeUnreachable},
		"nothing was dialled":  {func() (string, string) { return dialWords(errors.New(strings.Repeat("x", 999)), "") }, CodeUnreachable},
		"reset at once":        {errno(syscall.ECONNRESET), CodeReset},
		"address refused":      {dial(&egress.Error{Code: egress.CodeAddress, Reason: quoted}), CodeAddress},
		"address in the URL":   {url("https://10.0.0.1/"), CodeAddress},
		"no such name":         {dial(&net.DNSError{Name: long, IsNotFound: true}), CodeDNS},
		"name servers fail":    {dial(&net.DNSError{Name: long}), CodeDNS},
		"no connection":        {late(false, 0), CodeConnectTimeout},
		"no answer":            {late(true, 0), CodeTimeout},
		"half an answer":       {late(true, 200), CodeTimeout},
		"slow DNS":             {lateAt(stageDNS, ""), CodeConnectTimeout},
		"slow TCP":             {lateAt(stageConnect, "192.0.2.1:443"), CodeConnectTimeout},
		"slow TLS":             {lateAt(stageTLS, "192.0.2.1:443"), CodeConnectTimeout},
		"unknown authority":    {handshake(x509.UnknownAuthorityError{}), CodeTLS},
		"another host":         {handshake(x509.HostnameError{Certificate: &x509.Certificate{}, Host: long}), CodeTLS},
		"expired":              {handshake(x509.CertificateInvalidError{Reason: x509.Expired}), CodeTLS},
		"no TLS":               {handshake(tls.RecordHeaderError{Msg: quoted}), CodeTLS},
		"alert":                {handshake(&net.OpError{Op: tlsRemote, Err: tls.AlertError(40)}), CodeTLS},
		"alert later":          {explained(&net.OpError{Op: tlsRemote, Err: tls.AlertError(116)}, 0, false), CodeTLS},
		"long handshake":       {handshake(errFlood), CodeTLS},
		"flood":                {explained(errFlood, 0, false), CodeTooLarge},
		"reads no more":        {explained(errBlocked, 0, true), CodeTimeout},
		"turned away":          {explained(errTurnedAway, 0, false), CodeReset},
		"stream refused":       {explained(errors.New("stream error: stream ID 1; REFUSED_STREAM; received from peer"), 0, false), CodeReset},
		"wants HTTP/1.1":       {explained(errors.New("stream error: stream ID 1; HTTP_1_1_REQUIRED; received from peer"), 0, false), CodeReset},
		"stream reset":         {explained(errors.New("stream error: stream ID 1; CANCEL; received from peer"), 200, false), CodeReset},
		"bad HTTP/2":           {explained(errors.New("stream error: stream ID 1; PROTOCOL_ERROR"), 0, false), CodeProtocol},
		"closed in handshake":  {handshake(io.EOF), CodeTLS},
		"other TLS":            {handshake(errors.New(strings.Repeat("ä", 500))), CodeTLS},
		"body too large":       {explained(errTooLarge, 200, false), CodeTooLarge},
		"headers too large":    {explained(errHeadTooLarge, 0, false), CodeTooLarge},
		"unfit header":         {explained(&fieldError{long}, 0, false), CodeProtocol},
		"closed in the body":   {explained(io.ErrUnexpectedEOF, 200, false), CodeReset},
		"closed while kept":    {explained(io.EOF, 0, true), CodeReset},
		"closed at once":       {explained(io.EOF, 0, false), CodeReset},
		"not HTTP":             {explained(fmt.Errorf("malformed HTTP response %q", quoted), 0, false), CodeProtocol},
		"bad header":           {explained(fmt.Errorf("malformed MIME header line: %s", quoted), 0, false), CodeProtocol},
		"bad chunk":            {explained(errors.New("invalid byte in chunk length"), 200, false), CodeProtocol},
		"HTTP/2 goes away":     {explained(fmt.Errorf("http2: server sent GOAWAY, debug=%q", quoted), 0, false), CodeReset},
		"something else":       {explained(errors.New(quoted+strings.Repeat("ä", 1000)), 0, false), CodeProtocol},
		"no redirect's target": {answered(304, ""), CodeRedirect},
		"a redirect elsewhere": {answered(301, "http://other.example:8080/"+quoted+"?"+quoted), CodeRedirect},
		"a redirect on itself": {answered(308, "/a/?"+quoted), CodeRedirect},
		"a redirect nowhere":   {answered(302, "https://"+strings.Repeat(quoted, 20)+"/"), CodeRedirect},
		"a redirect with user": {answered(302, "https://u:"+quoted+"@other.example/"), CodeRedirect},
	}
	for raw, name := range map[string]string{
		"ftp://a.example/": "scheme", "http://a.example/": "http", "https:///p": "no host", "https://u:p@a.example/": "password", "https://a.example/#": "fragment",
		"https://a.example:22/": "port", "https://a.example:0443/": "a port's zero", "https://a.example:/": "no port", "https://[127.0.0.1]/": "brackets", "https://[fe80::1%25e]/": "zone",
		"https://-a.example/": "name", "https://127.1/": "short address", "https://a.local/": "local name", "https://intranet/": "single label", "https://a.example/\r": "control",
		"https://" + strings.Repeat("ä", 999) + "/": "long name", "https://xn--zzzz9999999.example/": "international",
	} {
		cases["URL: "+name] = struct {
			words func() (string, string)
			code  string
		}{url(raw), CodeURL}
	}
	for status := 300; status <= 600; status++ {
		code := CodeStatus
		if status <= 399 {
			code = CodeRedirect
		}
		cases[fmt.Sprint("status ", status)] = struct {
			words func() (string, string)
			code  string
		}{answered(status, ""), code}
	}
	seen := map[string]bool{}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			code, words := tt.words()
			if code != tt.code {
				t.Errorf("code %s, want %s (%s)", code, tt.code, words)
			}
			seen[code] = true
			checkWords(t, words)
		})
	}
	for _, code := range []string{
		CodeURL, CodeAddress, CodeDNS, CodeConnectTimeout, CodeRefused, CodeUnreachable, CodeTLS, CodeReset, CodeTimeout, CodeProtocol,
		CodeTooLarge, CodeRedirect, CodeStatus, CodeCancelled, CodeLocal,
	} {
		if !seen[code] {
			t.Errorf("no words of the code %s", code)
		}
	}
}

func TestRedirectNamesTheHost(t *testing.T) {
	from, err := http.NewRequest(http.MethodPost, "http://hooks.example:8080/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]string{
		"https://hooks.example/a?x=1": "leads to https://hooks.example:",
		"//other.example/a":           "leads to http://other.example:",
		"b":                           "another path of the same host",
		"https://u:p@other.example/":  "leads to https://other.example:",
		"javascript:alert(1)":         "301 Moved Permanently: redirects",
		"https://a b.example/":        "301 Moved Permanently: redirects",
		"https://<b>.example/":        "301 Moved Permanently: redirects",
		"":                            "301 Moved Permanently: redirects",
	} {
		if _, words := refusal(&http.Response{StatusCode: 301, Request: from, Header: http.Header{"Location": {location}}}); !strings.Contains(words, want) {
			t.Errorf("a redirect to %q: %q, want %q in it", location, words, want)
		}
	}
}

func TestSecretSent(t *testing.T) {
	for name, tt := range map[string]struct {
		header, value string
		secret        bool
	}{
		"a session's name":       {"X-Session-Id", "a", true},
		"Authorization":          {"Authorization", "x", true},
		"Cookie":                 {"Cookie", "x", true},
		"an API key":             {"X-Api-Key", "x", true},
		"in capitals":            {"APIKEY", "x", true},
		"a password":             {"X-Passphrase", "x", true},
		"another's signature":    {"X-Hub-Signature-256", "x", true},
		"Doorstep's signature":   {"Webhook-Signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", false},
		"Doorstep's id":          {"Webhook-Id", "55d89a0e-d206-5179-bcfa-e857b9f3e625", false},
		"Doorstep's event":       {"Doorstep-Event-Id", "01970000-0000-7000-8000-000000000001", false},
		"what is not Doorstep's": {"Webhook-Secret", "x", true},
		"a bearer token":         {"X-Team", "bearer abc", true},
		"basic credentials":      {"X-Team", "Basic YTpi", true},
		"the scheme alone":       {"X-Team", "Basic ", false},
		"a JWT":                  {"X-Team", "eyJhbGciOi.J9.x", true},
		"a maker's key":          {"X-Team", "ghp_abc", true},
		"a signing secret":       {"X-Team", "whsec_abc", true},
		"one in other words":     {"X-Team", "signed by whsec_abc", true},
		"a signing key pair":     {"X-Team", "key=whsk_abc", true},
		"random letters":         {"X-Team", "id=Zk3vQ9sLm2Xc8Rt5Yw1B", true},
		"a UUID":                 {"X-Team", "55d89a0e-d206-5179-bcfa-e857b9f3e625", true},
		"a long word":            {"X-Team", "internationalization-department", false},
		"a long number":          {"X-Team", "12345678901234567890123", false},
		"words and numbers":      {"X-Team", "blue 1, green 2, yellow 3, red 4", false},
		"19 letters and digits":  {"X-Team", "abcdefghi123456789x", false},
		"20 letters and digits":  {"X-Team", "abcdefghi123456789xy", true},
		"a media type":           {"Accept", "application/vnd.acme.v1+json", false},
		"nothing":                {"X-Team", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := secretSent(tt.header, tt.value); got != tt.secret {
				t.Errorf("secretSent(%s, %s) = %v", tt.header, tt.value, got)
			}
		})
	}
}

func TestWithoutSecrets(t *testing.T) {
	secrets := []string{"hunter2hunter2", "abc"}
	for body, want := range map[string]string{
		"":                               "",
		"nothing in it":                  "nothing in it",
		`{"key":"hunter2hunter2"}`:       `{"key":"***"}`,
		"hunter2hunter2, hunter2hunter2": "***, ***",
		"cut: hunter2hunt":               "cut: ***",
		"cut short: hunt":                "cut short: hunt",
		"abc is too short to be masked":  "abc is too short to be masked",
		"hunter2hunter2hunter2":          "******",
		"it begins like one: hunter2hu.": "it begins like one: hunter2hu.",
	} {
		if got := string(withoutSecrets([]byte(body), secrets)); got != want {
			t.Errorf("%q became %q, want %q", body, got, want)
		}
	}
}
