package testkit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// MailServer is a real mail server, as deploy/local/servers makes them: it wants TLS and a password, and keeps
// the mail of every address.
type MailServer struct {
	URL    string // smtp://, with user and password
	CAFile string // the authority of its certificate, PEM
	Dir    string // holds a Maildir for each local part
}

// SMTP gives the mail server that TEST_SMTP, TEST_SMTP_CA and TEST_MAIL name. There is no embedded one: without,
// the test is skipped.
func SMTP(t testing.TB) MailServer {
	t.Helper()
	s := MailServer{realServer(t, "TEST_SMTP"), os.Getenv("TEST_SMTP_CA"), os.Getenv("TEST_MAIL")}
	if s.URL == "" {
		t.Skip("TEST_SMTP is not set: there is no mail server")
	}
	if s.Dir == "" {
		t.Fatal("TEST_SMTP is set without TEST_MAIL, where its mails are")
	}
	t.Logf("smtp: %s", s.URL[strings.LastIndex(s.URL, "@")+1:])
	return s
}

// Mails gives what came for a local part, oldest first. Choose one that no other test has.
func (s MailServer) Mails(t testing.TB, localPart string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir, localPart, "new", "*")) // a mail is there once it is whole
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files) // their names begin with the time
	var mails []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mails = append(mails, string(b))
	}
	return mails
}
