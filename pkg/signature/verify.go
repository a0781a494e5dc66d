package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far a webhook's timestamp may be from the receiver's clock, either way, by
// default.
const Tolerance = 5 * time.Minute

// maxSignatures bounds the work that one request can cause.
const maxSignatures = 32

// Why a webhook does not verify. Verify wraps them.
var (
	ErrSecret  = errors.New("no secret to verify with")
	ErrHeaders = errors.New("webhook headers missing or malformed")
	ErrTooOld  = errors.New("webhook timestamp too old")
	ErrTooNew  = errors.New("webhook timestamp in the future")
	ErrNoMatch = errors.New("no signature matches")
)

// Headers are the three headers of a webhook.
type Headers struct {
	ID        string // webhook-id
	Timestamp string // webhook-timestamp: Unix seconds
	Signature string // webhook-signature
}

// HeadersOf takes the headers of a request. One that stands more than once counts as missing.
func HeadersOf(h http.Header) Headers {
	return Headers{ID: single(h, HeaderID), Timestamp: single(h, HeaderTimestamp), Signature: single(h, HeaderSignature)}
}

func single(h http.Header, name string) string {
	if values := h[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// Verify says why a webhook is not to be trusted, or nil: one of its signatures was made with one
// of the secrets for this id, timestamp and body, and its timestamp is within tolerance of now.
// Body is the request's, byte for byte. Comparisons take the same time whatever is wrong. Errors
// wrap ErrSecret, ErrHeaders, ErrTooOld, ErrTooNew or ErrNoMatch.
//
// A webhook may come twice, with the same id: a receiver keeps the ids that it has handled.
func Verify(secrets []Secret, h Headers, body []byte, now time.Time, tolerance time.Duration) error {
	if len(secrets) == 0 {
		return ErrSecret
	}
	if h.ID == "" || strings.Contains(h.ID, ".") {
		return fmt.Errorf("%w: webhook-id must be there once and hold no dot", ErrHeaders)
	}
	at, err := parseTimestamp(h.Timestamp)
	if err != nil {
		return err
	}
	switch age := now.Sub(at); {
	case age > tolerance:
		return fmt.Errorf("%w: by %s", ErrTooOld, (age - tolerance).Round(time.Second))
	case age < -tolerance:
		return fmt.Errorf("%w: by %s", ErrTooNew, (at.Sub(now) - tolerance).Round(time.Second))
	}
	if n := strings.Count(h.Signature, " ") + 1; h.Signature == "" || n > maxSignatures {
		return fmt.Errorf("%w: webhook-signature must be there once, with 1 to %d signatures", ErrHeaders, maxSignatures)
	}
	content := append(appendContent(make([]byte, 0, len(h.ID)+len(body)+24), h.ID, at), body...)
	matched := false
	for _, s := range secrets {
		matches, err := s.matches(h.Signature, content)
		if err != nil {
			return err
		}
		matched = matched || matches
	}
	if !matched {
		return fmt.Errorf("%w: check the secret, and that the body is verified as it came, before it is parsed", ErrNoMatch)
	}
	return nil
}

func parseTimestamp(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	// Only the plain form: "+1" and "01" would sign the same text as "1". 1<<40 is in the year 36812;
	// far beyond it time.Time overflows.
	if err != nil || strconv.FormatInt(n, 10) != s || n < 0 || n > 1<<40 {
		return time.Time{}, fmt.Errorf("%w: webhook-timestamp must be there once, in Unix seconds", ErrHeaders)
	}
	return time.Unix(n, 0), nil
}

// matches reports whether any of the signatures is the secret's.
func (s Secret) matches(signatures string, content []byte) (bool, error) {
	var check func(signature []byte) bool
	switch s.kind {
	case kindHMAC:
		mac := hmac.New(sha256.New, []byte(s.raw))
		mac.Write(content)
		want := mac.Sum(nil)
		check = func(signature []byte) bool { return hmac.Equal(signature, want) }
	case kindPrivate, kindPublic:
		public, _ := s.Public()
		check = func(signature []byte) bool {
			return ed25519.Verify(ed25519.PublicKey(public.raw), content, signature)
		}
	default:
		return false, ErrSecret
	}
	matched := false
	for one := range strings.SplitSeq(signatures, " ") {
		scheme, encoded, _ := strings.Cut(one, ",")
		if Scheme(scheme) != s.Scheme() {
			continue
		}
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil && check(signature) {
			matched = true
		}
	}
	return matched, nil
}
