// Package seal keeps secrets unreadable where they are stored: AES-256-GCM, by keys that have ids.
//
// A sealed secret names its key, so keys can be replaced while secrets sealed with the former ones are still
// about: the first key seals, all of them open. Each secret is bound to what it is of, so that whoever can
// write where it is stored can neither give it to another webhook nor use it for anything else. What it is not
// bound to is time: who can write there can put an older secret of the same webhook back.
//
// The shape of the sealed bytes: nonce (12), ciphertext (as long as the secret), tag (16). Nonces are random, for
// which NIST SP 800-38D (8.3) allows 2^32 secrets under one key.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Why a secret cannot be opened.
var (
	// ErrNoKey says that its key is not here.
	ErrNoKey = errors.New("the key is not here")
	// ErrDamaged says that it is not what was sealed with that key for that use: damaged, moved, or sealed
	// with another key of the same id.
	ErrDamaged = errors.New("damaged, of another use, or sealed with another key of that id")
)

const (
	keySize   = 32
	nonceSize = 12
	tagSize   = 16
)

// Keys are sealing keys, the one in force first. The zero Keys have none: they seal nothing, and open what is
// plain. They print as their ids only.
type Keys struct{ keys []key }

type key struct {
	id   string
	raw  [keySize]byte
	aead cipher.AEAD
}

var idPattern = regexp.MustCompile(`^[a-z0-9._-]{1,32}$`)

// New is one key. It errs if the id is not 1 to 32 of a-z, 0-9, '.', '_' and '-', or is "plain".
func New(id string, raw [32]byte) (Keys, error) {
	if !idPattern.MatchString(id) || id == webhook.PlainKeyID {
		return Keys{}, fmt.Errorf("%q cannot be the id of a key: it needs 1 to 32 of a-z, 0-9, '.', '_' and '-', and not %q", id, webhook.PlainKeyID)
	}
	block, err := aes.NewCipher(raw[:])
	if err != nil {
		return Keys{}, fmt.Errorf("key %s: %w", id, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return Keys{}, fmt.Errorf("key %s: %w", id, err)
	}
	return Keys{[]key{{id, raw, aead}}}, nil
}

// Parse reads keys: ID:BASE64 of 32 bytes each, by commas or lines, what follows a # left out. It errs if there
// is none, or one that is not as it should be or stands twice; an error names the line and never the key.
func Parse(text string) (Keys, error) {
	var all Keys
	lineOf := map[int]int{} // by place in all
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for entry := range strings.SplitSeq(line, ",") {
			if entry = strings.TrimSpace(entry); entry == "" {
				continue
			}
			k, err := parseKey(entry)
			if err != nil {
				return Keys{}, fmt.Errorf("line %d: %w", i+1, err)
			}
			for j, had := range all.keys {
				switch {
				case had.id == k.id:
					return Keys{}, fmt.Errorf("line %d: has the id of the key on line %d", i+1, lineOf[j])
				case had.raw == k.raw:
					return Keys{}, fmt.Errorf("line %d: is the key on line %d with another id", i+1, lineOf[j])
				}
			}
			lineOf[len(all.keys)] = i + 1
			all.keys = append(all.keys, k)
		}
	}
	if len(all.keys) == 0 {
		return Keys{}, errors.New("there is no key")
	}
	return all, nil
}

// parseKey reads ID:BASE64. Errors repeat nothing of it: a key may stand where the id should.
func parseKey(entry string) (key, error) {
	id, text, found := strings.Cut(entry, ":")
	if !found {
		return key{}, errors.New("must be ID:BASE64, as `doorstep sealing-key` prints it")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != keySize {
		return key{}, fmt.Errorf("what follows the id must be base64 of %d bytes, as `doorstep sealing-key` prints it", keySize)
	}
	one, err := New(id, [keySize]byte(b))
	if err != nil {
		return key{}, fmt.Errorf("the id must be 1 to 32 of a-z, 0-9, '.', '_' and '-', and not %q", webhook.PlainKeyID)
	}
	return one.keys[0], nil
}

// Text is the keys as Parse reads them, a line each: the secret itself, for who makes a key.
func (k Keys) Text() string {
	var b strings.Builder
	for _, one := range k.keys {
		b.WriteString(one.id + ":" + base64.StdEncoding.EncodeToString(one.raw[:]) + "\n")
	}
	return b.String()
}

// Current is the id of the key that seals; webhook.PlainKeyID if there is none.
func (k Keys) Current() string {
	if len(k.keys) == 0 {
		return webhook.PlainKeyID
	}
	return k.keys[0].id
}

// IDs are the ids of the keys, the one in force first.
func (k Keys) IDs() []string {
	ids := make([]string, len(k.keys))
	for i, one := range k.keys {
		ids[i] = one.id
	}
	return ids
}

// Seal seals a secret with the key in force; without one it stays plain. A nonce serves once. of says what
// the secret is of, and the same opens it.
func (k Keys) Seal(nonce [12]byte, secret []byte, of string) webhook.Sealed {
	if len(k.keys) == 0 {
		return webhook.Plain(secret)
	}
	sealed := make([]byte, nonceSize, nonceSize+len(secret)+tagSize)
	copy(sealed, nonce[:])
	return webhook.Sealed{KeyID: k.keys[0].id, Bytes: k.keys[0].aead.Seal(sealed, nonce[:], secret, []byte(of))}
}

// Open is the secret. What is plain opens always. It errs with ErrNoKey or ErrDamaged, naming the key's id.
func (k Keys) Open(s webhook.Sealed, of string) ([]byte, error) {
	if s.IsPlain() {
		return s.Bytes, nil
	}
	for _, one := range k.keys {
		if one.id != s.KeyID {
			continue
		}
		if len(s.Bytes) < nonceSize {
			return nil, fmt.Errorf("sealed with key %q: %w", s.KeyID, ErrDamaged)
		}
		secret, err := one.aead.Open(nil, s.Bytes[:nonceSize], s.Bytes[nonceSize:], []byte(of))
		if err != nil {
			return nil, fmt.Errorf("sealed with key %q: %w", s.KeyID, ErrDamaged)
		}
		return secret, nil
	}
	return nil, fmt.Errorf("sealed with key %q: %w", s.KeyID, ErrNoKey)
}

// String tells the ids only.
func (k Keys) String() string { return "sealing keys [" + strings.Join(k.IDs(), " ") + "]" }

// Format hides the keys from every verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText hides the keys from encoders, which the handlers of slog use.
func (k Keys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
