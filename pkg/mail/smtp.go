package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
)

// sendTimeout bounds one mail, from the look-up of the server's name to its last answer.
const sendTimeout = 30 * time.Second

// Sender hands mails to a mail server. It is safe for concurrent use.
type Sender struct {
	server server
	from   *netmail.Address
	tls    *tls.Config // nil: without TLS
}

// New makes a Sender. The server need not be there yet: it errs only if the settings are at fault, or their
// files cannot be read.
func New(c Config) (*Sender, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.URL == "" {
		return nil, errors.New("smtp-url: is required to send mail")
	}
	from, err := c.from()
	if err != nil {
		return nil, err
	}
	server, err := c.server()
	if err != nil {
		return nil, err
	}
	s := &Sender{server: server, from: from}
	if server.user != "" {
		if _, err := server.password.Read(); err != nil {
			return nil, err
		}
	}
	if server.security != starttlsNever {
		s.tls, err = credentials.TLS{Settings: "smtp-", CAFile: c.CAFile, ServerName: server.host}.Config()
	}
	return s, err
}

// Send hands m to the mail server. It returns nil as soon as the server has taken it, whatever follows. An
// error does not say that the server has not: the connection may have broken before the answer. It takes 30 s
// at most.
func (s *Sender) Send(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if to, err := netmail.ParseAddress(m.To); err != nil || to.Address != m.To {
		return fmt.Errorf("mail %s: %w: the administrator's address is none", m.ID, errForGood)
	}
	password, err := s.password()
	if err != nil {
		return fmt.Errorf("mail %s: %w", m.ID, err)
	}
	c := &connection{ctx: ctx}
	defer c.close()
	client, err := s.connect(c, password, m)
	if err == nil {
		err = s.hand(client, m)
		c.quit(client, err)
	}
	if err != nil {
		return s.explain(ctx, m, password, err)
	}
	return nil
}

func (s *Sender) password() (string, error) {
	if s.server.user == "" {
		return "", nil
	}
	return s.server.password.Read()
}

// connect dials, secures the connection and signs in.
func (s *Sender) connect(c *connection, password string, m Message) (*smtp.Client, error) {
	options := []gomail.Option{
		gomail.WithTimeout(sendTimeout), gomail.WithTLSPolicy(gomail.NoTLS),
		gomail.WithDialContextFunc(func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, s.server, s.tls) }),
	}
	if s.tls != nil {
		options = append(options, gomail.WithTLSConfig(s.tls.Clone()))
	}
	plain, login := gomail.SMTPAuthPlain, gomail.SMTPAuthLogin
	switch s.server.security {
	case implicitTLS:
		options = append(options, gomail.WithSSL())
	case starttlsRequire:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case starttlsOffered:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case starttlsNever:
		plain, login = gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc
	}
	if s.server.user != "" {
		options = append(options, gomail.WithUsername(s.server.user), gomail.WithPassword(password),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, plain, login))
	}
	if ascii(m.To) && ascii(s.from.Address) {
		options = append(options, gomail.WithoutSMTPUTF8()) // which servers further on may not know
	}
	client, err := gomail.NewClient(s.server.host, options...)
	if err != nil {
		return nil, err
	}
	return client.DialToSMTPClientWithContext(c.ctx)
}

// hand gives the mail to the server. Once it returns nil the mail is the server's.
func (s *Sender) hand(client *smtp.Client, m Message) error {
	if err := client.Mail("<" + s.from.Address + ">"); err != nil {
		return fmt.Errorf("smtp-from: %w", err)
	}
	if err := client.Rcpt("<" + m.To + ">"); err != nil {
		return answerOf("recipient", err)
	}
	w, err := client.Data()
	if err != nil {
		return answerOf("data", err)
	}
	if _, err := s.message(m, time.Now()).WriteTo(w); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if err := w.Close(); err != nil {
		return answerOf("data", err)
	}
	return nil
}

// message is m as it is sent.
func (s *Sender) message(m Message, now time.Time) *gomail.Msg {
	_, domain, _ := strings.Cut(s.from.Address, "@")
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(s.from)
	msg.ToMailAddress(&netmail.Address{Name: line(m.ToName, maxLine), Address: m.To})
	msg.Subject(line(m.Subject, maxLine))
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(m.ID + "@" + domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's absence is to be told to it
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	return msg
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}
