package mail_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

const (
	user     = "doorstep"
	password = "correct horse"
)

// server is a mail server in this process. What it was told is in received and authed.
type server struct {
	tls        *tls.Config      // nil: it speaks no TLS
	implicit   bool             // from the start
	mechanisms []string         // empty: nobody signs in
	insecure   bool             // signing in is offered without TLS
	refuse     map[string]error // by the command
	at         string           // the address that it has; empty: 127.0.0.1

	addr string

	mu       sync.Mutex
	received []received
	authed   string // the mechanism
	secured  bool   // the last mail came over TLS
}

type received struct{ from, to, data string }

// start runs s until the test ends.
func (s *server) start(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", cmp.Or(s.at, "127.0.0.1")+":0")
	if err != nil && s.at != "" {
		t.Skipf("this machine has no %s: %v", s.at, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{server: s, conn: c}, nil }))
	srv.Domain, srv.AllowInsecureAuth, srv.ErrorLog = "localhost", s.insecure, log.New(io.Discard, "", 0)
	if s.implicit {
		l = tls.NewListener(l, s.tls)
	} else {
		srv.TLSConfig = s.tls
	}
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		_ = srv.Close()
		_ = l.Close() // which Serve may not have told it of yet
		done.Wait()
	})
	return s
}

// one is the only mail that came.
func (s *server) one(t *testing.T) received {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) != 1 {
		t.Fatalf("%d mails came, want 1", len(s.received))
	}
	return s.received[0]
}

func (s *server) none(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) != 0 {
		t.Fatalf("%d mails came, want none", len(s.received))
	}
}

type session struct {
	server *server
	conn   *smtp.Conn
	signed bool
	mail   received
}

func (s *session) Reset()                   { s.mail = received{} }
func (s *session) Logout() error            { return nil }
func (s *session) AuthMechanisms() []string { return s.server.mechanisms }

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	check := func(u, p string) error {
		if u != user || p != password {
			// As a server that tells too much.
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no " + u + " with " + p}
		}
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.signed, s.server.authed = true, mechanism
		return nil
	}
	if mechanism == "LOGIN" {
		return &login{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, u, p string) error { return check(u, p) }), nil
}

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	if len(s.server.mechanisms) > 0 && !s.signed {
		return smtp.ErrAuthRequired
	}
	if o.UTF8 {
		return errors.New("asked for SMTPUTF8 without need")
	}
	s.mail.from = from
	return s.server.refuse["MAIL"]
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to = to
	return s.server.refuse["RCPT"]
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.server.refuse["DATA"]; err != nil {
		return err
	}
	s.mail.data = string(data)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	_, s.server.secured = s.conn.TLSConnectionState()
	s.server.received = append(s.server.received, s.mail)
	return nil
}

// login is the server's side of AUTH LOGIN.
type login struct {
	check func(user, password string) error
	user  *string
	asked bool
}

func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case l.user == nil:
		l.user = new(string(response))
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(*l.user, string(response))
}

// talk is a mail server that talks as the test wants: it answers what a client says with what answers holds
// under the word that it begins with, "" for the greeting. An answer "close" closes the connection, "hang" says
// nothing more.
func talk(t *testing.T, answers map[string]string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = c.Close() })
			done.Go(func() { converse(ctx, c, answers) })
		}
	})
	t.Cleanup(func() {
		end()
		_ = l.Close()
		done.Wait()
	})
	return l.Addr().String()
}

func converse(ctx context.Context, c net.Conn, answers map[string]string) {
	defer c.Close()
	lines, said, inData := bufio.NewScanner(c), "", false
	for {
		answer, known := answers[said]
		switch {
		case !known:
			answer = map[string]string{"": "220 localhost", "EHLO": "250 localhost", "DATA": "354 go on", "QUIT": "221 bye"}[said]
			if answer == "" {
				answer = "250 done"
			}
		case answer == "close":
			return
		case answer == "hang":
			<-ctx.Done()
			return
		}
		_, _ = io.WriteString(c, answer+"\r\n")
		inData = inData || strings.HasPrefix(answer, "354")
		for {
			if !lines.Scan() {
				return
			}
			said, _, _ = strings.Cut(lines.Text(), " ")
			if !inData || said == "." {
				inData = false
				break
			}
		}
	}
}

// config reaches a server of this process.
func config(scheme, addr, query string) mail.Config {
	return mail.Config{URL: scheme + "://" + addr + query, From: "doorstep@example.com"}
}

// signedIn is config with a user and a password.
func signedIn(scheme, addr, query string) mail.Config {
	return config(scheme, user+":correct%20horse@"+addr, query)
}

func sender(t *testing.T, c mail.Config) *mail.Sender {
	t.Helper()
	s, err := mail.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// trusting is c with the authority.
func trusting(ca *testkit.CA, c mail.Config) mail.Config {
	c.CAFile = ca.File
	return c
}
