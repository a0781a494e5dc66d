package hostile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
)

// spying keeps the random bytes of the server's first message.
type spying struct {
	net.Conn
	random []byte
}

func (s *spying) Write(p []byte) (int, error) {
	const at, size = 5 + 4 + 2, 32 // behind the record's head, the message's and the version
	if s.random == nil && len(p) >= at+size {
		s.random = slices.Clone(p[at : at+size])
	}
	return s.Conn.Write(p)
}

// helloRequest is the record by which a server asks for another handshake (RFC 5246, section 7.4.1.1),
// the first behind the handshake of a TLS 1.2 with AES-128-GCM and SHA-256. keys is its line of the
// key log.
func helloRequest(keys string, serverRandom []byte) ([]byte, error) {
	words := strings.Fields(keys)
	if len(words) != 3 {
		return nil, fmt.Errorf("a key log of %d words", len(words))
	}
	clientRandom, err := hex.DecodeString(words[1])
	if err != nil {
		return nil, err
	}
	master, err := hex.DecodeString(words[2])
	if err != nil {
		return nil, err
	}
	block := expand(master, slices.Concat([]byte("key expansion"), serverRandom, clientRandom), 2*16+2*4)
	aead, err := aes.NewCipher(block[16:32])
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(aead)
	if err != nil {
		return nil, err
	}
	const handshake, size = 22, 4
	number := binary.BigEndian.AppendUint64(nil, 1) // 0 was the end of the handshake
	nonce := slices.Concat(block[36:40], number)
	data := append(slices.Clone(number), handshake, 3, 3, 0, size)
	sealed := gcm.Seal(nil, nonce, make([]byte, size), data)
	record := append([]byte{handshake, 3, 3, 0, byte(len(number) + len(sealed))}, number...)
	return append(record, sealed...), nil
}

// expand is P_SHA256 of RFC 5246, section 5.
func expand(secret, seed []byte, size int) []byte {
	mac := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		for _, p := range parts {
			_, _ = h.Write(p) // which never errs
		}
		return h.Sum(nil)
	}
	var out []byte
	for a := mac(seed); len(out) < size; a = mac(a) {
		out = append(out, mac(a, seed)...)
	}
	return out[:size]
}
