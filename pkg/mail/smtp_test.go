package mail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func message(t *testing.T) mail.Message {
	t.Helper()
	return compose(t, facts(failure.NoticeDisabled))
}

// TestWays sends over every way that there is to a server, and over those that must not be taken.
func TestWays(t *testing.T) {
	ca := testkit.NewCA(t)
	wrong := testkit.NewCA(t)
	plain, login := []string{"PLAIN"}, []string{"LOGIN"}
	for name, tt := range map[string]struct {
		server  *server
		config  func(addr string) mail.Config
		want    string // in the error; empty: it is sent
		secured bool
		auth    string
	}{
		"plain":                          {&server{}, func(a string) mail.Config { return config("smtp", a, "") }, "", false, ""},
		"STARTTLS is offered":            {&server{tls: ca.ServerConfig(t)}, func(a string) mail.Config { return trusting(ca, config("smtp", a, "")) }, "", true, ""},
		"STARTTLS is required":           {&server{tls: ca.ServerConfig(t)}, func(a string) mail.Config { return trusting(ca, config("smtp", a, "?starttls=require")) }, "", true, ""},
		"STARTTLS is required, missing":  {&server{}, func(a string) mail.Config { return trusting(ca, config("smtp", a, "?starttls=require")) }, "does not offer STARTTLS", false, ""},
		"STARTTLS is never":              {&server{tls: ca.ServerConfig(t)}, func(a string) mail.Config { return config("smtp", a, "?starttls=never") }, "", false, ""},
		"STARTTLS, unknown authority":    {&server{tls: ca.ServerConfig(t)}, func(a string) mail.Config { return trusting(wrong, config("smtp", a, "")) }, "no authority of smtp-ca-file", false, ""},
		"STARTTLS, the system's":         {&server{tls: ca.ServerConfig(t)}, func(a string) mail.Config { return config("smtp", a, "") }, "no authority of smtp-ca-file", false, ""},
		"STARTTLS, another name":         {&server{tls: ca.ServerConfig(t), at: "127.0.0.2"}, func(a string) mail.Config { return trusting(ca, config("smtp", a, "")) }, "certificate is for another name than smtp-url says", false, ""},
		"TLS from the start":             {&server{tls: ca.ServerConfig(t), implicit: true}, func(a string) mail.Config { return trusting(ca, config("smtps", a, "")) }, "", true, ""},
		"TLS, unknown authority":         {&server{tls: ca.ServerConfig(t), implicit: true}, func(a string) mail.Config { return trusting(wrong, config("smtps", a, "")) }, "no authority of smtp-ca-file", false, ""},
		"TLS where there is none":        {&server{}, func(a string) mail.Config { return trusting(ca, config("smtps", a, "")) }, "does not begin with TLS there", false, ""},
		"AUTH PLAIN":                     {&server{tls: ca.ServerConfig(t), mechanisms: plain}, func(a string) mail.Config { return trusting(ca, signedIn("smtp", a, "")) }, "", true, "PLAIN"},
		"AUTH PLAIN, TLS from the start": {&server{tls: ca.ServerConfig(t), implicit: true, mechanisms: plain}, func(a string) mail.Config { return trusting(ca, signedIn("smtps", a, "")) }, "", true, "PLAIN"},
		"AUTH LOGIN":                     {&server{tls: ca.ServerConfig(t), mechanisms: login}, func(a string) mail.Config { return trusting(ca, signedIn("smtp", a, "")) }, "", true, "LOGIN"},
		"AUTH, none is offered":          {&server{tls: ca.ServerConfig(t)}, func(a string) mail.Config { return trusting(ca, signedIn("smtp", a, "")) }, "does not support SMTP AUTH", false, ""},
		"a password only over TLS":       {&server{mechanisms: plain, insecure: true}, func(a string) mail.Config { return signedIn("smtp", a, "") }, "does not offer STARTTLS", false, ""},
		"a password in the open":         {&server{mechanisms: plain, insecure: true}, func(a string) mail.Config { return signedIn("smtp", a, "?starttls=never") }, "", false, "PLAIN"},
		"LOGIN in the open":              {&server{mechanisms: login, insecure: true}, func(a string) mail.Config { return signedIn("smtp", a, "?starttls=never") }, "", false, "LOGIN"},
		"nobody signs in":                {&server{tls: ca.ServerConfig(t), mechanisms: plain}, func(a string) mail.Config { return trusting(ca, config("smtp", a, "")) }, "502 5.7.0 Please authenticate first", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.server.start(t)
			err := sender(t, tt.config(s.addr)).Send(t.Context(), message(t))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || mail.Permanent(err) {
					t.Errorf("%v (permanent: %t), want %q", err, mail.Permanent(err), tt.want)
				}
				quiet(t, err)
				s.none(t)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := s.one(t); got.from != "doorstep@example.com" || got.to != "admin@example.com" || s.secured != tt.secured || s.authed != tt.auth {
				t.Errorf("from %s to %s, TLS %t, signed in by %q", got.from, got.to, s.secured, s.authed)
			}
		})
	}
}

// quiet holds that an error shows no password and no address of an administrator.
func quiet(t *testing.T, err error) {
	t.Helper()
	for shown := err; shown != nil; shown = errors.Unwrap(shown) {
		for _, secret := range []string{"correct", "horse", "battery", "YmF0dGVyeSBzdGFwbGU=", "admin@example.com"} {
			if strings.Contains(shown.Error(), secret) {
				t.Errorf("shows %q: %v", secret, shown)
			}
		}
		if strings.ContainsAny(shown.Error(), "\r\n") {
			t.Errorf("more than a line: %q", shown)
		}
	}
}

func TestNameInCertificate(t *testing.T) {
	ca := testkit.NewCA(t)
	s := (&server{tls: ca.ServerConfig(t)}).start(t)
	c := trusting(ca, mail.Config{URL: "smtp://localhost:" + s.addr[strings.LastIndex(s.addr, ":")+1:]})
	if err := sender(t, c).Send(t.Context(), message(t)); err != nil {
		t.Errorf("by the certificate's other name: %v", err)
	}
}

func TestWrongPassword(t *testing.T) {
	ca := testkit.NewCA(t)
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		s := (&server{tls: ca.ServerConfig(t), mechanisms: []string{mechanism}}).start(t)
		err := sender(t, trusting(ca, config("smtp", user+":battery%20staple@"+s.addr, ""))).Send(t.Context(), message(t))
		if err == nil || mail.Permanent(err) || !strings.Contains(err.Error(), "SMTP AUTH failed: 535 5.7.8 no doorstep with (hidden)") {
			t.Errorf("%s: %v (permanent: %t)", mechanism, err, mail.Permanent(err))
		}
		quiet(t, err)
		s.none(t)
	}
	echo := talk(t, map[string]string{"EHLO": "250-localhost\r\n250 AUTH PLAIN", "AUTH": "535 no AGRvb3JzdGVwAGJhdHRlcnkgc3RhcGxl YmF0dGVyeSBzdGFwbGU="})
	err := sender(t, config("smtp", user+":battery%20staple@"+echo, "?starttls=never")).Send(t.Context(), message(t))
	if err == nil || !strings.Contains(err.Error(), "535 no (hidden) (hidden)") {
		t.Errorf("a server that repeats what it was sent: %v", err)
	}
	quiet(t, err)
	quoted := talk(t, map[string]string{"EHLO": "250-localhost\r\n250 AUTH PLAIN", "AUTH": `535 no bat"tery stäple`})
	err = sender(t, config("smtp", user+":bat%22tery%20st%C3%A4ple@"+quoted, "?starttls=never")).Send(t.Context(), message(t))
	if err == nil || !strings.Contains(err.Error(), "535 no (hidden)") {
		t.Errorf("a password that quoting would change: %v", err)
	}
}

// TestPasswordFile is read anew for each mail.
func TestPasswordFile(t *testing.T) {
	ca := testkit.NewCA(t)
	s := (&server{tls: ca.ServerConfig(t), mechanisms: []string{"PLAIN"}}).start(t)
	file := filepath.Join(t.TempDir(), "password")
	write := func(word string) {
		if err := os.WriteFile(file, []byte(word+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("battery staple")
	c := trusting(ca, config("smtp", user+"@"+s.addr, ""))
	c.PasswordFile = file
	rotated := sender(t, c)
	if err := rotated.Send(t.Context(), message(t)); err == nil || mail.Permanent(err) {
		t.Errorf("with the old password: %v", err)
	}
	write(password)
	if err := rotated.Send(t.Context(), message(t)); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := rotated.Send(t.Context(), message(t)); err == nil || mail.Permanent(err) || !strings.Contains(err.Error(), "smtp-password-file: open "+file) {
		t.Errorf("without the file: %v", err)
	}
	s.one(t)
}

func TestRefusals(t *testing.T) {
	says := func(code int, words string) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: words}
	}
	for name, tt := range map[string]struct {
		at        string
		answer    error
		permanent bool
		want      string
	}{
		"450 to the recipient":      {"RCPT", says(450, "greylisted"), false, "recipient: 450 4.1.1 greylisted"},
		"550 to the recipient":      {"RCPT", says(550, "<admin@example.com>: no such user"), true, "refused for good: recipient: 550 5.1.1 <(address)>: no such user"},
		"553 to the recipient":      {"RCPT", says(553, "mailbox name not allowed"), true, "553"},
		"530 to the recipient":      {"RCPT", says(530, "authentication required"), false, "530"},
		"503 to the recipient":      {"RCPT", says(503, "bad sequence"), false, "503"},
		"550 to the sender":         {"MAIL", says(550, "doorstep@example.com may not send here"), false, "smtp-from: 550 5.1.1 (address) may not send here"},
		"552 to the mail":           {"DATA", says(552, "too large"), true, "refused for good: data: 552 5.1.1 too large"},
		"554 to the mail, in lines": {"DATA", says(554, "no\nno, no"), true, "554"},
		"451 to the mail":           {"DATA", says(451, "try later"), false, "data: 451 4.1.1 try later"},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&server{refuse: map[string]error{tt.at: tt.answer}}).start(t)
			m := message(t)
			err := sender(t, config("smtp", s.addr, "")).Send(t.Context(), m)
			if err == nil || mail.Permanent(err) != tt.permanent || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v (permanent: %t), want %q (permanent: %t)", err, mail.Permanent(err), tt.want, tt.permanent)
			}
			if begins := "mail " + m.ID + " by " + s.addr + ": "; !strings.HasPrefix(err.Error(), begins) {
				t.Errorf("%v does not begin with %q", err, begins)
			}
			quiet(t, err)
			s.none(t)
		})
	}
}

func TestNoAddress(t *testing.T) {
	s := (&server{}).start(t)
	for _, to := range []string{"", "nobody", "admin@example.com\r\nRCPT TO:<other@example.com>", "Other <admin@example.com>", "a@example.com, b@example.com"} {
		m := message(t)
		m.To = to
		err := sender(t, config("smtp", s.addr, "")).Send(t.Context(), m)
		if !mail.Permanent(err) || to != "" && strings.Contains(err.Error(), to) {
			t.Errorf("%q: %v", to, err)
		}
	}
	s.none(t)
}

// TestBrokenServers has servers that hang or hang up at every step.
func TestBrokenServers(t *testing.T) {
	for _, at := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		t.Run("closes at "+at, func(t *testing.T) {
			answers := map[string]string{at: "close"}
			if at == "EHLO" {
				answers["HELO"] = "close"
			}
			err := sender(t, config("smtp", talk(t, answers), "")).Send(t.Context(), message(t))
			if err == nil || mail.Permanent(err) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			quiet(t, err)
		})
		t.Run("hangs at "+at, func(t *testing.T) {
			s := sender(t, config("smtp", talk(t, map[string]string{at: "hang"}), ""))
			for cause, ctx := range map[error]context.Context{
				context.DeadlineExceeded: timeout(t, 50*time.Millisecond), context.Canceled: cancelled(t, 50*time.Millisecond),
			} {
				began := time.Now()
				err := s.Send(ctx, message(t))
				if !errors.Is(err, cause) || mail.Permanent(err) {
					t.Errorf("%v, want %v", err, cause)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("took %s", took)
				}
			}
		})
	}
}

func timeout(t *testing.T, after time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	t.Cleanup(cancel)
	return ctx
}

func cancelled(t *testing.T, after time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(after, cancel)
	t.Cleanup(func() { timer.Stop(); cancel() })
	return ctx
}

// TestTaken: once the server has taken a mail it is sent, whatever comes of the farewell.
func TestTaken(t *testing.T) {
	for _, farewell := range []string{"close", "hang", "500 what?", "421 no"} {
		err := sender(t, config("smtp", talk(t, map[string]string{"QUIT": farewell}), "")).Send(t.Context(), message(t))
		if err != nil {
			t.Errorf("%s: %v", farewell, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := (&server{}).start(t)
	addr := s.addr
	for name, c := range map[string]mail.Config{
		"nobody listens": config("smtp", "127.0.0.1:1", ""), "no such host": config("smtp", "mail.invalid", ""), "TLS, nobody": config("smtps", "127.0.0.1:1", ""),
	} {
		err := sender(t, c).Send(t.Context(), message(t))
		if err == nil || mail.Permanent(err) {
			t.Errorf("%s, %s: %v", name, addr, err)
		}
	}
}

// TestWhatArrives reads a mail as the administrator's program does.
func TestWhatArrives(t *testing.T) {
	s := (&server{}).start(t)
	f := facts(failure.NoticeDisabled)
	f.Webhook.Name = "Bestellungen für das ERP\r\nBcc: other@example.com \u202e 注文 " + strings.Repeat("größer ", 9)
	f.Administrator.Name = "Ädmin \"quoted\" \\ <other@example.com>,\r\n other"
	m := compose(t, f)
	m.Text += ".\n..two dots\n"
	began := time.Now().Add(-time.Second)
	if err := sender(t, config("smtp", s.addr, "")).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	data := s.one(t).data
	arrived(t, data, m, "example.com", began)
	if strings.Contains(data, "\nBcc:") {
		t.Error("a name became a header")
	}
	for row := range strings.Lines(data) {
		if len(row) > 80 && !strings.Contains(row, m.ID) || strings.ContainsFunc(row, func(r rune) bool { return r > 126 }) || !strings.HasSuffix(row, "\r\n") {
			t.Errorf("not for every server: %q", row)
		}
	}
}

// arrived holds that data is m, whole.
func arrived(t *testing.T, data string, m mail.Message, domain string, began time.Time) {
	t.Helper()
	got, err := netmail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	words := new(mime.WordDecoder)
	subject, err := words.DecodeHeader(got.Header.Get("Subject"))
	if err != nil || subject != m.Subject {
		t.Errorf("subject %q, %v; want %q", subject, err, m.Subject)
	}
	from, err := got.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != "Doorstep" || from[0].Address != "doorstep@"+domain {
		t.Errorf("from %v, %v", from, err)
	}
	to, err := got.Header.AddressList("To")
	if err != nil || len(to) != 1 || to[0].Name != m.ToName || to[0].Address != m.To {
		t.Errorf("to %v, %v", to, err)
	}
	if date, err := got.Header.Date(); err != nil || date.Before(began.Truncate(time.Second)) || date.After(time.Now().Add(time.Second)) {
		t.Errorf("date %v, %v", date, err)
	}
	for name, want := range map[string]string{
		"Message-Id": "<" + m.ID + "@" + domain + ">", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0", "User-Agent": "", "X-Mailer": "", "Bcc": "", "Cc": "",
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("content type %q, %v", kind, err)
	}
	parts := multipart.NewReader(got.Body, params["boundary"])
	for _, want := range []struct{ kind, content string }{{"text/plain", m.Text}, {"text/html", m.HTML}} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		if err := holds(part, want.kind, want.content); err != nil {
			t.Error(err)
		}
	}
	if _, err := parts.NextRawPart(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the two parts: %v", err)
	}
}

func holds(part *multipart.Part, kind, content string) error {
	got, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
	if err != nil || got != kind || !strings.EqualFold(params["charset"], "utf-8") {
		return fmt.Errorf("a part is %q %v, %w", got, params, err)
	}
	if encoding := part.Header.Get("Content-Transfer-Encoding"); encoding != "quoted-printable" {
		return fmt.Errorf("%s: encoding %q", kind, encoding)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(part))
	if text := strings.ReplaceAll(string(b), "\r\n", "\n"); err != nil || text != content {
		return fmt.Errorf("%s: %w, %q", kind, err, text)
	}
	return nil
}
