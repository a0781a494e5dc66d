// Package wire turns nouns into Kafka records and back: the names of the topics, keys, headers,
// values and versions.
//
// A value is a protobuf message of proto/doorstep/v1. Its name and version stand in the header
// "doorstep-record", e.g. "delivery/1": the version changes only when an old reader must not read
// the record, and a reader refuses a version that it does not know. Everything else evolves by
// added fields, which old programs carry on unread.
package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// HeaderRecord is the Kafka header that names a value's message and version.
const HeaderRecord = "doorstep-record"

// kind is a message and the version that this program writes and reads.
type kind struct {
	name    string
	headers []kgo.RecordHeader // all records of the kind share them, and nobody changes them
}

func newKind(name string) kind {
	return kind{name, []kgo.RecordHeader{{Key: HeaderRecord, Value: []byte(name + "/1")}}}
}

var (
	kindEvent      = newKind("event")
	kindDelivery   = newKind("delivery")
	kindAttempt    = newKind("attempt")
	kindState      = newKind("state")
	kindNotice     = newKind("notice")
	kindWebhook    = newKind("webhook")
	kindSetting    = newKind("setting")
	kindQuarantine = newKind("quarantine")
)

// record makes a Kafka record. Marshalling our own messages cannot fail but for text that is not
// UTF-8; such text becomes an error that the caller must handle before the record is produced.
func (k kind) record(topic, key string, m proto.Message) (*kgo.Record, error) {
	value, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s record %q: %w", k.name, key, err)
	}
	return k.recordOf(topic, key, value), nil
}

func (k kind) recordOf(topic, key string, value []byte) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Headers: k.headers}
}

// read checks the header and decodes the value into m.
func (k kind) read(r *kgo.Record, m proto.Message) error {
	if err := k.checkHeader(r.Headers); err != nil {
		return err
	}
	if err := proto.Unmarshal(r.Value, m); err != nil {
		return fmt.Errorf("%s record: value of %d bytes does not decode", k.name, len(r.Value))
	}
	return nil
}

func (k kind) checkHeader(headers []kgo.RecordHeader) error {
	for _, h := range headers {
		if h.Key != HeaderRecord {
			continue
		}
		if string(h.Value) == string(k.headers[0].Value) {
			return nil
		}
		name, version, _ := strings.Cut(string(h.Value), "/")
		if _, err := strconv.Atoi(version); err == nil && name == k.name {
			return fmt.Errorf("%s record: version %s is not known to this program, it reads version 1", k.name, version)
		}
		return fmt.Errorf("%s record: header %s names something else", k.name, HeaderRecord)
	}
	return fmt.Errorf("%s record: header %s is missing", k.name, HeaderRecord)
}

// nanos is t in Unix nanoseconds, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// at is the time of Unix nanoseconds in UTC, the zero time for 0.
func at(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func positionToProto(p delivery.Position) *pb.Position {
	if p == (delivery.Position{}) {
		return nil
	}
	return &pb.Position{Topic: p.Topic, Partition: p.Partition, Offset: p.Offset}
}

func positionFromProto(p *pb.Position) delivery.Position {
	return delivery.Position{Topic: p.GetTopic(), Partition: p.GetPartition(), Offset: p.GetOffset()}
}

// PositionOf is where a record that was read stands.
func PositionOf(r *kgo.Record) delivery.Position {
	return delivery.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

// names maps the texts of a noun to the numbers of its protobuf enum and back.
type names[E ~int32, S ~string] struct {
	to   map[S]E
	from map[E]S
}

func newNames[E ~int32, S ~string](m map[S]E) names[E, S] {
	from := make(map[E]S, len(m))
	for s, e := range m {
		from[e] = s
	}
	return names[E, S]{m, from}
}
