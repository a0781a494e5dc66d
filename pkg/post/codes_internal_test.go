package post

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
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

func TestExplainIsShortAndValid(t *testing.T) {
	var out delivery.Outcome
	explain(&out, fmt.Errorf("malformed %s", strings.Repeat("ä", 1000)), false)
	if out.ErrorCode != CodeProtocol || len(out.Error) > 500 || !utf8.ValidString(out.Error) {
		t.Errorf("explain = %s, %d bytes: %q", out.ErrorCode, len(out.Error), out.Error)
	}
	explain(&out, fmt.Errorf("read: %w", io.EOF), true)
	if out.ErrorCode != CodeReset || !strings.Contains(out.Error, "kept open") {
		t.Errorf("explain = %s: %q", out.ErrorCode, out.Error)
	}
}

func TestMasked(t *testing.T) {
	for name, secret := range map[string]bool{
		"Authorization": true, "Proxy-Authorization": true, "Cookie": true, "X-Csrf-Token": true, "X-Api-Key": true, "APIKEY": true, "X-Client-Secret": true,
		"X-Hub-Signature-256": true, "X-Password": true, "Content-Type": false, "X-Team": false, "User-Agent": false, "Webhook-Signature": false, "": false,
	} {
		if got := masked(name, "value"); (got == mask) != secret {
			t.Errorf("masked(%s) = %s, want secret %v", name, got, secret)
		}
	}
}
