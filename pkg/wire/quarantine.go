package wire

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// Quarantined is a record that could not be read.
type Quarantined struct {
	Position      delivery.Position
	Reason        string
	Reader        string // who could not read it, e.g. "sender"
	QuarantinedAt time.Time
	Key, Value    []byte
	Headers       []delivery.Header
}

// Quarantine is the record that keeps r, which reader could not read.
func Quarantine(topic, reader string, r *kgo.Record, reason error, now time.Time) (*kgo.Record, error) {
	m := &pb.QuarantineRecord{
		Position: positionToProto(PositionOf(r)), Reason: strings.ToValidUTF8(reason.Error(), "?"), Reader: reader,
		QuarantinedAt: nanos(now), Key: r.Key, Value: r.Value,
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, &pb.Header{
			Name: strings.ToValidUTF8(h.Key, "?"), Value: strings.ToValidUTF8(string(h.Value), "?"),
		})
	}
	return kindQuarantine.record(topic, fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset), m)
}

// ReadQuarantine decodes a record of `quarantine`.
func ReadQuarantine(r *kgo.Record) (Quarantined, error) {
	var m pb.QuarantineRecord
	if err := kindQuarantine.read(r, &m); err != nil {
		return Quarantined{}, err
	}
	return Quarantined{
		Position: positionFromProto(m.Position), Reason: m.Reason, Reader: m.Reader, QuarantinedAt: at(m.QuarantinedAt),
		Key: m.Key, Value: m.Value, Headers: headersFromProto(m.Headers),
	}, nil
}
