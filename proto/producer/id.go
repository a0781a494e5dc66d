package producer

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// newID is a UUIDv7 (RFC 9562): 48 bits of milliseconds, then random ones.
func newID(now time.Time) string {
	var b [16]byte
	_, _ = rand.Read(b[6:])                                                                     // never errs
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16|uint64(b[6])<<8|uint64(b[7])) //nolint:gosec // after 1970
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// identified is e if it has an id, else an event with the same fields and a new one.
func identified(e *Event, now time.Time) *Event {
	if e.GetId() != "" {
		return e
	}
	return &doorstepv1.Event{
		Id: newID(now), Tenant: e.GetTenant(), Type: e.GetType(), OccurredAt: e.GetOccurredAt(), ExternalReference: e.GetExternalReference(),
		Attributes: e.GetAttributes(), Data: e.GetData(),
	}
}
