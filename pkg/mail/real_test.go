package mail_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestRealServer sends through a real mail server and reads what it has laid into the mailbox.
func TestRealServer(t *testing.T) {
	server := testkit.SMTP(t)
	mailbox := "t-" + strings.ToLower(rand.Text())
	f := facts(failure.NoticeDisabled)
	f.Administrator.Email = mailbox + "@example.com"
	m := compose(t, f)
	began := time.Now().Add(-time.Second)

	c := mail.Config{URL: server.URL, CAFile: server.CAFile, From: "doorstep@example.com"}
	if err := sender(t, c).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var mails []string
	testkit.Eventually(t, 30*time.Second, func() error {
		if mails = server.Mails(t, mailbox); len(mails) == 0 {
			return fmt.Errorf("nothing has come for %s", mailbox)
		}
		return nil
	})
	if len(mails) != 1 {
		t.Fatalf("%d mails came, want 1", len(mails))
	}
	arrived(t, strings.ReplaceAll(mails[0], "\n", "\r\n"), m, "example.com", began)
	if !strings.Contains(mails[0], "with esmtpsa") { // RFC 3848: extended, over TLS, signed in
		t.Errorf("not over TLS with a password: %s", mails[0])
	}

	// What it refuses is told apart.
	before, host, _ := strings.Cut(server.URL, "@")
	c.URL = before[:strings.LastIndex(before, ":")] + ":wrong-word@" + host
	err := sender(t, c).Send(t.Context(), m)
	if err == nil || mail.Permanent(err) || !strings.Contains(err.Error(), "535") || strings.Contains(err.Error(), "wrong-word") {
		t.Errorf("a wrong password: %v (permanent: %t)", err, mail.Permanent(err))
	}
	c.URL = "smtp://" + host
	if err := sender(t, c).Send(t.Context(), m); err == nil || !strings.Contains(err.Error(), "recipient: 550 sign in first") {
		t.Errorf("not signed in: %v", err)
	}
	c.URL, c.CAFile = server.URL, testkit.NewCA(t).File
	if err := sender(t, c).Send(t.Context(), m); err == nil || mail.Permanent(err) || !strings.Contains(err.Error(), "smtp-ca-file") {
		t.Errorf("a certificate of another authority: %v", err)
	}
	c.CAFile, m.To = server.CAFile, "=nobody@example.com"
	if err := sender(t, c).Send(t.Context(), m); !mail.Permanent(err) || !strings.Contains(err.Error(), "550 no such mailbox") {
		t.Errorf("a mailbox that is none: %v", err)
	}
	if n := len(server.Mails(t, mailbox)); n != 1 {
		t.Errorf("%d mails in the end", n)
	}
}
