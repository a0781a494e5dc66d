package post

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// writings are how receivers write down what they were sent.
func writings() map[string]func(string) string {
	asJSON := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b[1 : len(b)-1])
	}
	return map[string]func(string) string{
		"as it is": func(s string) string { return s },
		"JSON":     asJSON,
		"plain JSON": func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
		},
		"JSON of PHP": func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`), "/", `\/`)
		},
		"JSON in JSON": func(s string) string { return asJSON(asJSON(s)) },
		"query":        url.QueryEscape,
		"path":         url.PathEscape,
		"HTML":         html.EscapeString,
		"Go":           func(s string) string { q := fmt.Sprintf("%q", s); return q[1 : len(q)-1] },
	}
}

func TestWhatIsRepeatedIsMasked(t *testing.T) {
	for name, way := range writings() {
		for _, secret := range []string{`p/+a="b"&<c>\d e'f%25`, "hunter2hunter2", `&amp;&amp;&amp;`, "a%41a%41a%41", `\u0041\u0041`, "dXNlcjpwYXNz+/=="} {
			t.Run(name+" "+secret, func(t *testing.T) {
				written := way(secret)
				if got := string(withoutSecrets([]byte("<"+written+">, "+written+", "+written), []string{secret})); got != "<***>, ***, ***" {
					t.Errorf("%q became %q", written, got)
				}
				if !repeats("Bearer "+written, []string{secret}) {
					t.Errorf("%q is not found in a header", written)
				}
			})
		}
	}
}

// printable are the characters of a header's value.
const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

// Whatever the secret, however it is written, and wherever the text is cut: nothing is left of it but a few
// letters at a cut.
func TestNothingIsLeftOfWhatIsRepeated(t *testing.T) {
	secrets := rapid.StringOfN(rapid.RuneFrom([]rune(printable)), shortestSecret, 60, -1)
	rapid.Check(t, func(t *rapid.T) {
		secret := secrets.Draw(t, "secret")
		name := rapid.SampledFrom([]string{"as it is", "JSON", "plain JSON", "query", "path", "HTML"}).Draw(t, "way")
		written := writings()[name](secret)
		whole := string(withoutSecrets([]byte("("+written+")"), []string{secret}))
		if whole != "(***)" && !strings.Contains(secret, "***") {
			t.Fatalf("%s: %q became %q", name, written, whole)
		}
	})
}

func TestCutWhereItIsEscaped(t *testing.T) {
	const secret = `abcdef"gh`
	for _, text := range []string{`{"a":"abcdef`, `{"a":"abcdef\`, `{"a":"abcdef\"`, `{"a":"abcdef\u00`, `{"a":"abcdef&qu`, `{"a":"abcdef%2`, `{"a":"abcdef\"g`} {
		if got := string(withoutSecrets([]byte(text), []string{secret})); got != `{"a":"***` {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := string(withoutSecrets([]byte("abcdef, gh"), []string{secret})); got != "abcdef, gh" {
		t.Errorf("became %q", got)
	}
}

func TestAddCredentials(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("user:hunter2:2"))
	for value, want := range map[string]string{
		"Bearer abc":          "abc",
		"abc":                 "abc",
		"Basic " + basic:      basic + " hunter2:2",
		"basic not-base64":    "not-base64",
		"Basic dXNlcg==":      "dXNlcg==", // no password in it
		"Token token=\"abc\"": `token="abc"`,
	} {
		if got := strings.Join(addCredentials(nil, value), " "); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// A header and an answer made to keep a sender busy cost no more than their length, and nothing is told for it.
func TestMaskingIsBounded(t *testing.T) {
	secret := strings.Repeat("a", 4000) + "b"
	body := bytes.Repeat([]byte("a"), MaxKeepAnswerBytes)
	left := effort(len(body))
	for i := range body {
		repeated(body[i:], secret, &left)
	}
	if left >= 0 {
		t.Fatal("the example is too easy")
	}
	if got := string(withoutSecrets(body, []string{secret})); len(got) > 2000 || !strings.HasSuffix(got, mask) {
		t.Errorf("%d bytes are told, the last %q", len(got), got[max(0, len(got)-10):])
	}
}

// Masking is made for every failed attempt.
func BenchmarkWithoutSecrets(b *testing.B) {
	body := []byte(strings.Repeat(`{"error":"no such order","path":"\/hooks\/orders","hint":"see &quot;orders&quot;"}`, 50)[:4096])
	secrets := []string{"a-token-of-forty-characters-or-so-0123456", "hunter2hunter2", "another%20one"}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		withoutSecrets(body, secrets)
	}
}
