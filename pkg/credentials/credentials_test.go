package credentials_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func TestPasswordIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	p := credentials.Password{Setting: "x-password", File: file}
	for content, want := range map[string]string{
		"first": "first", "second\n": "second", "with \r\nanother line": "with ", " spaces \n": " spaces ",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Read(); err != nil || got != want {
			t.Errorf("%q is read as %q, %v; want %q", content, got, err, want)
		}
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read(); err == nil || !strings.Contains(err.Error(), "x-password-file: the first line of "+file+" is empty") {
		t.Errorf("an empty file: %v", err)
	}
	p.File = filepath.Join(t.TempDir(), "missing")
	if _, err := p.Read(); err == nil || !strings.Contains(err.Error(), "x-password-file: open "+p.File) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestPasswordHides(t *testing.T) {
	p := credentials.Password{Setting: "x-password", Value: "hidden-word"}
	for _, shown := range []string{fmt.Sprint(p), fmt.Sprintf("%+v", p), fmt.Sprintf("%#v", p), fmt.Sprint([]credentials.Password{p})} {
		if strings.Contains(shown, "hidden-word") {
			t.Errorf("shown: %s", shown)
		}
	}
	p.File = "f"
	if err := p.Validate(); err == nil || strings.Contains(err.Error(), "hidden-word") {
		t.Errorf("given twice: %v", err)
	}
}

func TestTLSSaysWhatIsWrong(t *testing.T) {
	ca := testkit.NewCA(t)
	cert, key := ca.Client(t, "someone")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]credentials.TLS{
		"":                                   {Settings: "x-", CAFile: ca.File, CertFile: cert, KeyFile: key},
		"x-cert-file: needs x-key-file":      {Settings: "x-", CertFile: cert},
		"x-key-file: needs x-cert-file":      {Settings: "x-", KeyFile: key},
		"x-ca-file: open /missing":           {Settings: "x-", CAFile: "/missing"},
		"empty holds no certificate in PEM":  {Settings: "x-", CAFile: empty},
		"x-cert-file, x-key-file: tls: fail": {Settings: "x-", CertFile: cert, KeyFile: empty},
	} {
		_, err := c.Config()
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}
