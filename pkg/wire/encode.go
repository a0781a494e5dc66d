package wire

import (
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
)

// encoder appends the fields of a protobuf message, in the order of their numbers as proto.Marshal does: fields that are
// zero are left out. It is for the records that are written for every delivery, which through generated messages take
// five times as long; encode_test.go holds it against those.
type encoder struct {
	b       []byte
	notUTF8 bool // of a text, which proto.Marshal refuses too
}

func (e *encoder) number(field protowire.Number, n uint64) {
	if n != 0 {
		e.b = protowire.AppendVarint(protowire.AppendTag(e.b, field, protowire.VarintType), n)
	}
}

func (e *encoder) signed(field protowire.Number, n int64) {
	e.number(field, uint64(n)) //nolint:gosec // as protobuf codes an int64 and an int32
}

func (e *encoder) text(field protowire.Number, s string) {
	e.notUTF8 = e.notUTF8 || !utf8.ValidString(s)
	e.valid(field, s)
}

// foreign is a text that others wrote: what is not UTF-8 in it is replaced.
func (e *encoder) foreign(field protowire.Number, s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	e.valid(field, s)
}

func (e *encoder) valid(field protowire.Number, s string) {
	if s != "" {
		e.b = protowire.AppendString(protowire.AppendTag(e.b, field, protowire.BytesType), s)
	}
}

func (e *encoder) bytes(field protowire.Number, b []byte) {
	if len(b) > 0 {
		e.b = protowire.AppendBytes(protowire.AppendTag(e.b, field, protowire.BytesType), b)
	}
}

// open begins a message within, close ends it.
func (e *encoder) open(field protowire.Number) (mark int) {
	e.b = append(protowire.AppendTag(e.b, field, protowire.BytesType), 0)
	return len(e.b)
}

func (e *encoder) close(mark int) {
	n := uint64(len(e.b) - mark) //nolint:gosec // a length
	if more := protowire.SizeVarint(n) - 1; more > 0 {
		e.b = append(e.b, make([]byte, more)...)
		copy(e.b[mark+more:], e.b[mark:])
	}
	protowire.AppendVarint(e.b[:mark-1], n)
}

func (e *encoder) position(field protowire.Number, p delivery.Position) {
	if p == (delivery.Position{}) {
		return
	}
	mark := e.open(field)
	e.text(1, p.Topic)
	e.signed(2, int64(p.Partition))
	e.signed(3, p.Offset)
	e.close(mark)
}

func (e *encoder) headers(field protowire.Number, headers []delivery.Header) {
	for _, h := range headers {
		mark := e.open(field)
		e.foreign(1, h.Name)
		e.foreign(2, h.Value)
		e.close(mark)
	}
}

func (e *encoder) phases(field protowire.Number, p delivery.Phases) {
	mark := e.open(field)
	e.signed(1, int64(p.DNS))
	e.signed(2, int64(p.Connect))
	e.signed(3, int64(p.TLS))
	e.signed(4, int64(p.FirstByte))
	e.signed(5, int64(p.Total))
	if p.Reused {
		e.number(6, 1)
	}
	e.close(mark)
}

// eventRecord appends an EventRecord. Attributes come in any order, as with proto.Marshal.
func (e *encoder) eventRecord(r *event.Record) {
	mark := e.open(1)
	e.text(1, r.ID)
	e.text(2, r.Tenant)
	e.text(3, r.Type)
	e.timestamp(4, r.OccurredAt)
	e.text(5, r.ExternalReference)
	for k, v := range r.Attributes {
		entry := e.open(6)
		e.text(1, k)
		e.text(2, v)
		e.close(entry)
	}
	e.bytes(7, r.Data)
	e.close(mark)
	e.signed(2, nanos(r.ReceivedAt))
	if r.IDAssigned {
		e.number(3, 1)
	}
	e.text(4, r.APIKeyID)
	e.text(5, r.TraceContext)
}

// timestamp appends a google.protobuf.Timestamp; of the zero time, nothing.
func (e *encoder) timestamp(field protowire.Number, t time.Time) {
	if t.IsZero() {
		return
	}
	mark := e.open(field)
	e.signed(1, t.Unix())
	e.signed(2, int64(t.Nanosecond()))
	e.close(mark)
}

// eventSize is at least the bytes that an EventRecord takes, or a few less.
func eventSize(r *event.Record) int {
	n := 96 + len(r.ID) + len(r.Tenant) + len(r.Type) + len(r.ExternalReference) + len(r.Data) + len(r.APIKeyID) + len(r.TraceContext)
	for k, v := range r.Attributes {
		n += 8 + len(k) + len(v)
	}
	return n
}

// attempt appends an AttemptRecord.
func (e *encoder) attempt(a *delivery.Attempt) {
	o := &a.Outcome
	e.signed(1, int64(attemptKinds.to[a.Kind]))
	e.text(2, a.DeliveryID)
	e.text(3, a.RunID)
	e.signed(4, int64(causes.to[a.Cause]))
	e.signed(5, int64(a.Attempt))
	e.text(6, a.Tenant)
	e.text(7, a.WebhookID)
	e.text(8, a.EventID)
	e.text(9, a.EventType)
	e.text(10, a.Lane)
	e.signed(11, nanos(a.DueAt))
	e.signed(12, nanos(a.StartedAt))
	e.signed(13, nanos(a.FinishedAt))
	e.signed(14, int64(o.StatusCode))
	e.text(15, o.ErrorCode)
	e.foreign(16, o.Error)
	e.signed(17, int64(statuses.to[a.Status]))
	e.signed(18, nanos(a.NextAttemptAt))
	e.phases(19, o.Phases)
	e.headers(20, o.RequestHeaders)
	e.headers(21, o.ResponseHeaders)
	e.bytes(22, o.ResponseBody)
	e.text(23, o.URL)
	e.text(24, o.RemoteAddress)
	e.position(25, a.Position)
	e.number(26, a.WebhookGeneration)
	e.text(27, a.Instance)
	e.signed(28, int64(a.Count))
	e.text(29, a.TraceContext)
	e.signed(30, nanos(a.ReceivedAt))
	e.text(31, a.Counter)
	e.text(32, a.Condition)
}

// attemptSize is about how many bytes an AttemptRecord takes; it spares growing the buffer.
func attemptSize(a *delivery.Attempt) int {
	n := 256 + len(a.DeliveryID) + len(a.RunID) + len(a.WebhookID) + len(a.EventID) + len(a.EventType) + len(a.Lane) +
		len(a.Outcome.URL) + len(a.Outcome.Error) + len(a.Outcome.ResponseBody) + len(a.Position.Topic)
	for _, headers := range [2][]delivery.Header{a.Outcome.RequestHeaders, a.Outcome.ResponseHeaders} {
		for _, h := range headers {
			n += 8 + len(h.Name) + len(h.Value)
		}
	}
	return n
}
