package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Scheme names a signature, as it stands in the signature header.
type Scheme string

// The schemes.
const (
	SchemeHMAC    Scheme = "v1"  // HMAC-SHA256
	SchemeEd25519 Scheme = "v1a" // ed25519
)

// Lengths of an HMAC key in bytes. Standard Webhooks allows 24 to 64.
const (
	MinKeyLength = 24
	MaxKeyLength = 64
)

// Prefixes of a secret's text.
const (
	prefixHMAC    = "whsec_" // an HMAC key
	prefixPrivate = "whsk_"  // an ed25519 secret key
	prefixPublic  = "whpk_"  // an ed25519 public key
)

// Secret is what signs, or what verifies: an HMAC key or an ed25519 secret key, which do both, or
// an ed25519 public key, which only verifies. The zero Secret does neither. It prints as its
// kind only; Text is the secret itself.
type Secret struct {
	kind kind
	raw  string // HMAC key, ed25519 seed or ed25519 public key; a string, so that it cannot change
}

type kind byte

const (
	kindNone kind = iota
	kindHMAC
	kindPrivate
	kindPublic
)

// NewSecret makes an HMAC key of 32 random bytes.
func NewSecret(random [32]byte) Secret { return Secret{kindHMAC, string(random[:])} }

// NewKeyPair makes an ed25519 secret key of 32 random bytes, its seed.
func NewKeyPair(random [32]byte) Secret { return Secret{kindPrivate, string(random[:])} }

// SecretOf takes a raw key as it is stored: 24-64 bytes for SchemeHMAC, a seed of 32 bytes for
// SchemeEd25519.
func SecretOf(scheme Scheme, raw []byte) (Secret, error) {
	switch scheme {
	case SchemeHMAC:
		if n := len(raw); n < MinKeyLength || n > MaxKeyLength {
			return Secret{}, fmt.Errorf("signing secret: has %d bytes, it must have %d to %d", n, MinKeyLength, MaxKeyLength)
		}
		return Secret{kindHMAC, string(raw)}, nil
	case SchemeEd25519:
		if n := len(raw); n != ed25519.SeedSize {
			return Secret{}, fmt.Errorf("ed25519 seed: has %d bytes, it must have %d", n, ed25519.SeedSize)
		}
		return Secret{kindPrivate, string(raw)}, nil
	default:
		return Secret{}, fmt.Errorf("signature scheme %.10q: not known; it is v1 or v1a", string(scheme))
	}
}

// ParseSecret reads a secret's text: whsec_, whsk_ or whpk_ followed by base64. What follows
// whsk_ is the 64 bytes of seed and public key, or the seed alone. Its errors never repeat the text.
func ParseSecret(text string) (Secret, error) {
	prefix, encoded, found := strings.Cut(text, "_")
	if prefix += "_"; !found || prefix != prefixHMAC && prefix != prefixPrivate && prefix != prefixPublic {
		return Secret{}, fmt.Errorf("signing secret: must start with %s, %s or %s", prefixHMAC, prefixPrivate, prefixPublic)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return Secret{}, fmt.Errorf("signing secret: what follows %s is not base64", prefix)
	}
	switch prefix {
	case prefixHMAC:
		return SecretOf(SchemeHMAC, raw)
	case prefixPrivate:
		return parsePrivate(raw)
	default:
		if len(raw) != ed25519.PublicKeySize {
			return Secret{}, fmt.Errorf("ed25519 public key: has %d bytes, it must have %d", len(raw), ed25519.PublicKeySize)
		}
		return Secret{kindPublic, string(raw)}, nil
	}
}

func parsePrivate(raw []byte) (Secret, error) {
	if len(raw) != ed25519.PrivateKeySize {
		return SecretOf(SchemeEd25519, raw)
	}
	seed := raw[:ed25519.SeedSize]
	if !ed25519.NewKeyFromSeed(seed).Equal(ed25519.PrivateKey(raw)) {
		return Secret{}, errors.New("ed25519 secret key: its public half belongs to another key")
	}
	return SecretOf(SchemeEd25519, seed)
}

// Text is the secret as it is shown to the webhook's owner and given to receivers; ParseSecret
// reads it. It is empty for the zero Secret.
func (s Secret) Text() string {
	switch s.kind {
	case kindHMAC:
		return prefixHMAC + base64.StdEncoding.EncodeToString([]byte(s.raw))
	case kindPrivate:
		return prefixPrivate + base64.StdEncoding.EncodeToString(s.private())
	case kindPublic:
		return prefixPublic + base64.StdEncoding.EncodeToString([]byte(s.raw))
	default:
		return ""
	}
}

// Raw is the key as it is stored; SecretOf takes it. It is nil for a public key.
func (s Secret) Raw() []byte {
	if s.kind == kindPublic || s.kind == kindNone {
		return nil
	}
	return []byte(s.raw)
}

// Scheme is the scheme that the secret signs or verifies; empty for the zero Secret.
func (s Secret) Scheme() Scheme {
	switch s.kind {
	case kindHMAC:
		return SchemeHMAC
	case kindPrivate, kindPublic:
		return SchemeEd25519
	default:
		return ""
	}
}

// Public is the public key of an ed25519 key, which receivers verify with, and false for others.
func (s Secret) Public() (Secret, bool) {
	switch s.kind {
	case kindPublic:
		return s, true
	case kindPrivate:
		return Secret{kindPublic, string(s.private().Public().(ed25519.PublicKey))}, true
	default:
		return Secret{}, false
	}
}

// String hides the secret.
func (s Secret) String() string {
	switch s.kind {
	case kindHMAC:
		return prefixHMAC + "***"
	case kindPrivate:
		return prefixPrivate + "***"
	case kindPublic:
		return s.Text()
	default:
		return "no secret"
	}
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

func (s Secret) private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed([]byte(s.raw)) }
