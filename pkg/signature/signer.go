// Package signature signs and verifies webhooks by Standard Webhooks 1.0.0
// (https://www.standardwebhooks.com).
//
// What is signed is "{webhook-id}.{webhook-timestamp}.{body}", the timestamp in Unix seconds. The
// header webhook-signature holds one signature or several with spaces between them, each a
// scheme, a comma and base64: "v1," HMAC-SHA256, "v1a," ed25519. Several are sent while a secret
// is being replaced; a receiver accepts a webhook if any one of them is right.
//
// A sender prepares a Signer once per webhook; a receiver calls Verify.
package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"sync"
	"time"
)

// The headers, as net/http writes webhook-id, webhook-timestamp and webhook-signature.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Key is a secret that signs until it expires.
type Key struct {
	Secret    Secret
	ExpiresAt time.Time // zero: never
}

// Signer signs with the keys of one webhook. It is prepared once, holds about 1 KiB a key, twice that once used, and is
// safe for concurrent use.
type Signer struct {
	keys []preparedKey
}

type preparedKey struct {
	expiresAt time.Time
	mac       *keyedMAC          // nil for ed25519
	private   ed25519.PrivateKey // nil for HMAC
}

// NewSigner prepares keys. It errs on a public key or a zero Secret, which cannot sign.
func NewSigner(keys ...Key) (*Signer, error) {
	s := &Signer{keys: make([]preparedKey, 0, len(keys))}
	for _, k := range keys {
		prepared := preparedKey{expiresAt: k.ExpiresAt}
		switch k.Secret.kind {
		case kindHMAC:
			mac, ok := hmac.New(sha256.New, []byte(k.Secret.raw)).(hash.Cloner)
			if !ok {
				return nil, errors.New("prepare signing: this build's HMAC cannot be copied")
			}
			mac.Reset() // keeps the keyed state, so that each signing starts from it
			prepared.mac = &keyedMAC{keyed: mac}
		case kindPrivate:
			prepared.private = k.Secret.private()
		default:
			return nil, fmt.Errorf("prepare signing: %v cannot sign", k.Secret)
		}
		s.keys = append(s.keys, prepared)
	}
	return s, nil
}

// Sign is the value of the header webhook-signature for an attempt made at the given time: one
// signature for each key that has not expired by then, in the keys' order. It is empty if there is
// none. The id is the value of webhook-id and must not hold a dot; the header webhook-timestamp
// must be Timestamp(at).
func (s *Signer) Sign(id string, at time.Time, body []byte) string {
	var (
		small   [128]byte
		content []byte // for ed25519, which wants it whole
		dst     = small[:0]
	)
	for _, k := range s.keys {
		if !k.expiresAt.IsZero() && !at.Before(k.expiresAt) {
			continue
		}
		if len(dst) > 0 {
			dst = append(dst, ' ')
		}
		if k.mac != nil {
			dst = k.mac.append(dst, id, at, body)
			continue
		}
		if content == nil {
			content = appendContent(make([]byte, 0, len(id)+len(body)+24), id, at)
			content = append(content, body...)
		}
		dst = append(dst, "v1a,"...)
		dst = base64.StdEncoding.AppendEncode(dst, ed25519.Sign(k.private, content))
	}
	return string(dst)
}

// keyedMAC is the HMAC of one key, with a copy to work with: whoever finds that in use works with one of his own.
type keyedMAC struct {
	keyed hash.Cloner // nothing written, never changed

	mu      sync.Mutex
	mac     hash.Hash // nil until it is needed
	scratch []byte
}

func (m *keyedMAC) append(dst []byte, id string, at time.Time, body []byte) []byte {
	if !m.mu.TryLock() {
		m = &keyedMAC{keyed: m.keyed}
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	if m.mac == nil {
		m.mac = clone(m.keyed)
	}
	m.scratch = appendContent(m.scratch[:0], id, at)
	m.mac.Reset()
	m.mac.Write(m.scratch)
	m.mac.Write(body)
	m.scratch = m.mac.Sum(m.scratch[:0])
	dst = append(dst, "v1,"...)
	return base64.StdEncoding.AppendEncode(dst, m.scratch)
}

// clone copies a keyed HMAC. That of the standard library can always be copied.
func clone(mac hash.Cloner) hash.Hash {
	c, err := mac.Clone()
	if err != nil {
		panic(fmt.Sprintf("signature: copy HMAC: %v", err))
	}
	return c
}

// appendContent appends what is signed before the body.
func appendContent(dst []byte, id string, at time.Time) []byte {
	dst = append(dst, id...)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, at.Unix(), 10)
	return append(dst, '.')
}

// Timestamp is the value of the header webhook-timestamp for an attempt made at the given time.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Sign signs once, as Signer.Sign does. Who signs more than once with the same keys prepares a Signer.
func Sign(keys []Key, id string, at time.Time, body []byte) (string, error) {
	s, err := NewSigner(keys...)
	if err != nil {
		return "", err
	}
	return s.Sign(id, at, body), nil
}
