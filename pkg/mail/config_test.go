package mail_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/mail"
)

func TestSettings(t *testing.T) {
	for url, want := range map[string]string{ // the error of Validate; empty: none
		"":                            "",
		"smtp://mail.example.com":     "",
		"smtp://mail.example.com:587": "",
		"smtps://mail.example.com/":   "",
		"smtp://[::1]:2525":           "",
		"smtp://u:hidden@mail.example.com?starttls=require": "",
		"smtp://mail.example.com?starttls=never":            "",
		"mail.example.com":                                  "smtp-url: cannot be read",
		"http://u:hidden@mail.example.com":                  "smtp-url: cannot be read",
		"smtp://":                                           "smtp-url: cannot be read",
		"smtp://u:hidden@mail.example.com/inbox":            "smtp-url: cannot be read",
		"smtp://u:hidden%zz@mail.example.com":               "smtp-url: cannot be read",
		"smtp://u:hidden@mail.example.com:0":                "smtp-url: the port must be",
		"smtp://u:hidden@mail.example.com:99999":            "smtp-url: the port must be",
		"smtp://u@mail.example.com":                         "smtp-url: names a user without a password",
		"smtp://:hidden@mail.example.com":                   "smtp-url: names no user",
		"smtp://mail.example.com?starttls=maybe":            "smtp-url: starttls must be",
		"smtp://mail.example.com?starttls":                  "smtp-url: starttls must be",
		"smtp://mail.example.com?starttls=offered":          "smtp-url: starttls must be",
		"smtp://mail.example.com?tls=off":                   `smtp-url: "tls" is not known`,
		"smtps://mail.example.com?starttls=require":         "smtp-url: smtps:// is TLS from the start",
	} {
		c := mail.Config{URL: url, From: "doorstep@localhost"}
		err := c.Validate()
		check(t, url, err, want)
		if url != "" {
			_, err = mail.New(c)
			check(t, url, err, want)
		}
		for _, shown := range []string{c.String(), fmt.Sprintf("%v %+v %#v", c, c, &c)} {
			if strings.Contains(shown, "hidden") {
				t.Errorf("shown: %s", shown)
			}
		}
	}
}

func TestSettingsThatDoNotFit(t *testing.T) {
	for want, c := range map[string]mail.Config{
		"smtp-url: is required":               {},
		"smtp-ca-file: needs smtp-url":        {CAFile: "f"},
		"smtp-password-file: needs smtp-url":  {PasswordFile: "f"},
		"smtp-from: \"nobody\" is not a mail": {From: "nobody"},
		"smtp-password-file: the smtp-url":    {URL: "smtp://u:hidden@localhost", PasswordFile: "f"},
		"smtp-url: names no user":             {URL: "smtp://localhost", PasswordFile: "f"},
		"smtp-ca-file: is of no use":          {URL: "smtp://localhost?starttls=never", CAFile: "f"},
		"smtp-ca-file: open /missing":         {URL: "smtp://localhost", CAFile: "/missing"},
		"smtp-password-file: open /missing":   {URL: "smtp://u@localhost", PasswordFile: "/missing"},
	} {
		_, err := mail.New(c)
		check(t, want, err, want)
	}
}

func check(t *testing.T, name string, err error, want string) {
	t.Helper()
	if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden")) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}
