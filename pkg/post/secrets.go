package post

import (
	"net/http"
	"strings"
)

// What is kept of an attempt is read by more people than the webhook's headers are, so secrets are
// masked in it: by a header's name, by a value that looks like a credential, and, where a receiver
// repeats what it was sent, by the value that was masked in the request.

// mask stands for a secret.
const mask = "***"

// secretWords are what the name of a header that holds a secret often has in it.
var secretWords = []string{"auth", "cookie", "token", "key", "secret", "signature", "pass", "pwd", "credential", "session", "csrf", "xsrf", "jwt"}

// credentialSchemes begin an Authorization header's value, whatever header has it (RFC 9110, section 11).
var credentialSchemes = []string{"bearer ", "basic ", "digest ", "token ", "apikey ", "negotiate ", "hmac "}

// signingSecrets begin the signing secrets of Standard Webhooks, which are masked wherever in a value they stand.
var signingSecrets = []string{"whsec_", "whsk_"}

// credentialStarts begin keys and tokens of common makers, Doorstep's own among them; "eyJ" begins every JWT.
var credentialStarts = []string{
	"dsk_", "sk_", "sk-", "rk_", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xox", "AKIA", "AIza", "eyJ", "-----BEGIN",
}

// secretName reports whether a header of that name holds a secret.
func secretName(name string) bool {
	for _, word := range secretWords {
		if containsFold(name, word) {
			return true
		}
	}
	return false
}

// secretValue reports whether a value is plainly a credential.
func secretValue(value string) bool {
	if schemeOf(value) != "" {
		return true
	}
	for _, start := range credentialStarts {
		if strings.HasPrefix(value, start) {
			return true
		}
	}
	for _, start := range signingSecrets {
		if strings.Contains(value, start) {
			return true
		}
	}
	return false
}

// secretSent reports whether a header of a request, with its name in canonical form, is secret. Of
// those that a customer set everything that could be a key is: a long run of letters and digits, as
// keys, tokens and UUIDs are. Doorstep's own are shown. Its signature is good for this body and this
// minute alone, holds nothing of the secret that made it, and who debugs a receiver compares it.
func secretSent(name, value string) bool {
	switch name {
	case "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature":
		return false
	}
	if strings.HasPrefix(name, "Doorstep-") {
		return false
	}
	return secretName(name) || secretValue(value) || keyLike(value)
}

// Masked reports whether an attempt hides the value of a header that a customer set.
func Masked(name, value string) bool { return secretSent(http.CanonicalHeaderKey(name), value) }

// keyLike reports whether a value holds a run of at least 20 letters, digits, '-' and '_', with
// letters and digits among them.
func keyLike(value string) bool {
	const shortest = 20
	length, letters, digits := 0, false, false
	for i := range len(value) {
		switch c := value[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			letters = true
		case c >= '0' && c <= '9':
			digits = true
		case c == '-', c == '_':
		default:
			length, letters, digits = 0, false, false
			continue
		}
		if length++; length >= shortest && letters && digits {
			return true
		}
	}
	return false
}

func schemeOf(value string) string {
	for _, scheme := range credentialSchemes {
		if len(value) > len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
			return scheme
		}
	}
	return ""
}

// containsFold reports whether s holds word, which is in lower-case letters, in any case. It runs
// for every header of every attempt, so it allocates nothing.
func containsFold(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0] && strings.EqualFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}
