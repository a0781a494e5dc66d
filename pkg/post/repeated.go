package post

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// Careless receivers repeat what they were sent: an error page with all headers, a log line as JSON. So what was
// masked in the request is masked in the answer too, as it was sent and as JSON, URLs and HTML write it. A receiver
// that wants to tell a secret can tell it in other ways; it knows it anyway.

// shortestSecret is the length, in bytes, from which a secret is looked for in an answer: shorter
// ones are words that stand there for other reasons.
const shortestSecret = 6

// addCredentials adds to secrets the secret parts of a secret value: what stands behind its scheme, and the
// password that is in it.
func addCredentials(secrets []string, value string) []string {
	scheme := schemeOf(value)
	credential := strings.TrimSpace(value[len(scheme):])
	secrets = append(secrets, credential)
	if !strings.EqualFold(scheme, "basic ") {
		return secrets
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(credential, "="))
	if _, password, found := strings.Cut(string(decoded), ":"); err == nil && found {
		secrets = append(secrets, password)
	}
	return secrets
}

// repeats reports whether a value repeats one of the secrets.
func repeats(value string, secrets []string) bool {
	if len(secrets) == 0 {
		return false
	}
	text, left := []byte(value), effort(len(value))
	for i := range text {
		for _, s := range secrets {
			if _, whole := repeated(text[i:], s, &left); whole || left < 0 {
				return true
			}
		}
	}
	return false
}

// withoutSecrets is the kept part of a body with the secrets masked that it repeats, a cut one at its
// end included.
func withoutSecrets(body []byte, secrets []string) []byte {
	if len(secrets) == 0 {
		return body
	}
	var out []byte
	left, from := effort(len(body)), 0 // what stands before from is in out
	for i := 0; i < len(body); i++ {
		n := 0
		for _, s := range secrets {
			m, _ := repeated(body[i:], s, &left)
			n = max(n, m)
		}
		if left < 0 {
			return append(append(out, body[from:i]...), mask...)
		}
		if n > 0 {
			out = append(append(out, body[from:i]...), mask...)
			from = i + n
			i = from - 1
		}
	}
	if from == 0 {
		return body
	}
	return append(out, body[from:]...)
}

// effort is how many characters may be compared for a text. Somebody who makes both the header and the answer for
// it could else keep a sender busy; whatever is not looked at in time is masked.
func effort(length int) int { return 64*length + 64<<10 }

// ways is how many ways of reading a text are followed at once: "%25" may be a percent sign, or stand for one.
const ways = 8

// repeated is how many bytes at the start of text are secret, in some way of writing it, and whether that is all of
// it: a text may be cut within it. It takes its steps from left.
func repeated(text []byte, secret string, left *int) (n int, whole bool) {
	if len(secret) < shortestSecret || !begins(text[0], secret[0]) {
		return 0, false
	}
	at, ended := append(make([]int, 0, ways), 0), false
	for k := range len(secret) {
		var room [ways]int
		next := room[:0]
		for _, i := range at {
			if *left--; endsWithin(text[i:]) {
				ended = ended || k >= shortestSecret
			}
			plain, escaped := widths(text[i:], secret[k])
			next = follow(follow(next, i, plain), i, escaped)
		}
		if len(next) == 0 || *left < 0 {
			if ended {
				return len(text), false
			}
			return 0, false
		}
		at = append(at[:0], next...)
	}
	return slices.Max(at), true
}

// follow adds where a text is read on behind i, if it is.
func follow(at []int, i, width int) []int {
	if width == 0 || len(at) == ways || slices.Contains(at, i+width) {
		return at
	}
	return append(at, i+width)
}

// begins reports whether a text that begins with b can begin with c in some way of writing it.
func begins(b, c byte) bool { return b == c || b == '\\' || b == '%' || b == '&' || b == '+' }

// endsWithin reports whether what is left of a text may be one escaped character that is cut.
func endsWithin(left []byte) bool {
	return len(left) == 0 || len(left) < len(`&quot;`) && strings.IndexByte(`\%&`, left[0]) >= 0
}

// widths are how many bytes a text has for c that it begins with, as it is and escaped; 0: it does not.
func widths(text []byte, c byte) (plain, escaped int) {
	if len(text) == 0 {
		return 0, 0
	}
	if text[0] == c {
		plain = 1
	}
	switch {
	case text[0] == '\\':
		escaped = slashed(text, c)
	case text[0] == '%' && len(text) >= 3 && isHex(text[1:3], c):
		escaped = 3
	case text[0] == '+' && c == ' ':
		escaped = 1
	case text[0] == '&':
		escaped = entity(text, c)
	}
	return plain, escaped
}

// maxSlashes is how many backslashes may stand before a character: a text in a text in a text.
const maxSlashes = 7

// slashed is the length of c behind backslashes, with which a text begins, else 0.
func slashed(text []byte, c byte) int {
	slashes := 1
	for slashes < len(text) && slashes < maxSlashes && text[slashes] == '\\' {
		slashes++
	}
	rest := text[slashes:]
	switch {
	case c == '\\':
		return slashes
	case len(rest) >= 5 && rest[0] == 'u' && isHex(rest[1:5], c):
		return slashes + 5
	case len(rest) > 0 && rest[0] == c:
		return slashes + 1
	}
	return 0
}

// entity is the length of the character reference of HTML to c that a text begins with, else 0.
func entity(text []byte, c byte) int {
	end := bytes.IndexByte(text[:min(len(text), 10)], ';')
	if end < 0 {
		return 0
	}
	name := string(text[1:end])
	if digits, isNumber := strings.CutPrefix(name, "#"); isNumber {
		base := 10
		if len(digits) > 0 && digits[0]|0x20 == 'x' {
			digits, base = digits[1:], 16
		}
		if n, err := strconv.ParseUint(digits, base, 8); err != nil || byte(n) != c {
			return 0
		}
		return end + 1
	}
	for i, known := range []string{"amp", "lt", "gt", "quot", "apos"} {
		if name == known && c == `&<>"'`[i] {
			return end + 1
		}
	}
	return 0
}

func isHex(digits []byte, c byte) bool {
	n, err := strconv.ParseUint(string(digits), 16, 16)
	return err == nil && n == uint64(c)
}
