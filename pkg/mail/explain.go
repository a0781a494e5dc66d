package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"regexp"
	"strings"
	"time"
)

// maxWords bounds what an error repeats of a server's words, in characters.
const maxWords = 300

// errForGood stands in every error of a mail that need not be tried again.
var errForGood = errors.New("refused for good")

// Permanent reports whether err, of Send, says that the mail will never be taken: the server answered 5xx to
// its recipient or to the mail itself, or its address is none. All else may pass, or an operator mends it: a
// server that is not reached, 4xx, a user, a sender or a certificate that is refused.
func Permanent(err error) bool { return errors.Is(err, errForGood) }

// answerOf is err, of what is said of one mail, as it reads.
func answerOf(step string, err error) error {
	reply, answered := errors.AsType[*textproto.Error](err)
	if !answered || reply.Code < 500 || reply.Code > 599 {
		return fmt.Errorf("%s: %w", step, err)
	}
	switch reply.Code {
	case 500, 502, 503, 504, 521, 530, 534, 535, 538: // it does not do what we ask, or wants us to sign in
		return fmt.Errorf("%s: %w", step, err)
	}
	return fmt.Errorf("%s: %w: %w", step, errForGood, err)
}

// explain says what was tried and which setting may be at fault. It repeats what the server said, but for
// secrets and addresses.
func (s *Sender) explain(ctx context.Context, m Message, password string, err error) error {
	words := line(because(err, s.server)+hide(wordsOf(err), s.server.user, password), maxWords)
	switch {
	case Permanent(err):
		return fmt.Errorf("mail %s by %s: %w: %s", m.ID, s.server.address(), errForGood, strings.Replace(words, errForGood.Error()+": ", "", 1))
	case ctx.Err() != nil:
		return fmt.Errorf("mail %s by %s: not done in time: %w", m.ID, s.server.address(), context.Cause(ctx))
	case overdue(ctx):
		return fmt.Errorf("mail %s by %s: not done in time: %w", m.ID, s.server.address(), context.DeadlineExceeded)
	}
	return fmt.Errorf("mail %s by %s: %s", m.ID, s.server.address(), words)
}

// overdue reports whether ctx is about to end: a dial that is bounded by it may give up a moment before.
func overdue(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return bounded && !time.Now().Before(deadline)
}

// because begins an error with which setting may be at fault; empty: none that is known.
func because(err error, to server) string {
	switch {
	case is[x509.UnknownAuthorityError](err):
		return "no authority of smtp-ca-file, or of the system without it, vouches for the server's certificate: "
	case is[x509.HostnameError](err):
		return "the server's certificate is for another name than smtp-url says: "
	case is[x509.CertificateInvalidError](err):
		return "the server's certificate cannot be used: "
	case is[tls.RecordHeaderError](err):
		return "the server does not begin with TLS there; smtp:// instead of smtps:// in smtp-url is for STARTTLS: "
	case strings.Contains(err.Error(), "does not support STARTTLS"): // go-mail has no name for it
		if to.user != "" {
			return "the server does not offer STARTTLS, and the password is not sent without it: "
		}
		return "the server does not offer STARTTLS, which smtp-url requires: "
	case errors.Is(err, io.EOF):
		return "the server closed the connection: "
	}
	return ""
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// wordsOf is err with what the server said as it said it: quoted, secrets would not be found in it.
func wordsOf(err error) string {
	reply, answered := errors.AsType[*textproto.Error](err)
	if !answered {
		return err.Error()
	}
	return strings.Replace(err.Error(), reply.Error(), fmt.Sprintf("%d %s", reply.Code, reply.Msg), 1)
}

var address = regexp.MustCompile(`[^\s<>"'()\[\],;:=]+@[^\s<>"'()\[\],;:=]+`)

// hide is text without the password, in any of the ways in which it was sent, and without mail addresses.
func hide(text, user, password string) string {
	if password != "" {
		sent := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
		for _, secret := range []string{sent, base64.StdEncoding.EncodeToString([]byte(password)), password} {
			text = strings.ReplaceAll(text, secret, "(hidden)")
		}
	}
	return address.ReplaceAllString(text, "(address)")
}
