package quarantine_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/quarantine"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// lines are what was logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// ward is a quarantine with what it logs and counts.
type ward struct {
	*quarantine.Quarantine
	log     lines
	metrics *prometheus.Registry
}

func newWard(t *testing.T, topic string) *ward {
	t.Helper()
	w := &ward{log: make(lines, 10), metrics: prometheus.NewRegistry()}
	var err error
	w.Quarantine, err = quarantine.New(topic, "sender", slog.New(slog.NewJSONHandler(w.log, nil)), w.metrics, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// unreadable is a record that nobody can read.
func unreadable(value []byte) *kgo.Record {
	return &kgo.Record{
		Topic: "t.deliveries", Partition: 3, Offset: 41, Key: []byte("w-1"), Value: value,
		Headers: []kgo.RecordHeader{{Key: wire.HeaderRecord, Value: []byte("delivery/9")}},
	}
}

// written reads the one record of a topic.
func written(t *testing.T, cfg kafka.Config, topic string) wire.Quarantined {
	t.Helper()
	reader, err := cfg.NewClient("reader", slog.New(slog.DiscardHandler), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fetches := reader.PollFetches(t.Context())
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
		t.Fatalf("%d records, %v", fetches.NumRecords(), err)
	}
	got, err := wire.ReadQuarantine(fetches.Records()[0])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWriteKeepsCountsAndWarns(t *testing.T) {
	cfg := kafka.Config{Brokers: testkit.Broker(t), TopicPrefix: testkit.Prefix(t), RetryTiers: "1m"}
	topics, err := cfg.Topics()
	if err != nil {
		t.Fatal(err)
	}
	client, err := cfg.NewClient("test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, -1, nil, topics.Quarantine); err != nil {
		t.Fatal(err)
	}
	w := newWard(t, topics.Quarantine)
	w.Write(kafka.NewWriter(client, slog.New(slog.DiscardHandler)), unreadable([]byte("s3cret payload")), errors.New("version 9 is not known"))
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	want := wire.Quarantined{
		Position: delivery.Position{Topic: "t.deliveries", Partition: 3, Offset: 41}, Reason: "version 9 is not known", Reader: "sender",
		QuarantinedAt: now, Key: []byte("w-1"), Value: []byte("s3cret payload"),
		Headers: []delivery.Header{{Name: wire.HeaderRecord, Value: "delivery/9"}},
	}
	if diff := cmp.Diff(want, written(t, cfg, topics.Quarantine)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	line := <-w.log
	for _, part := range []string{`"level":"WARN"`, `"topic":"t.deliveries"`, `"partition":3`, `"offset":41`, `"error":"version 9 is not known"`} {
		if !strings.Contains(line, part) {
			t.Errorf("log lacks %s: %s", part, line)
		}
	}
	if len(w.log) != 0 || strings.Contains(line, "s3cret") {
		t.Errorf("want one line without the payload: %s", line)
	}
	if err := testutil.GatherAndCompare(w.metrics, strings.NewReader(`
# HELP doorstep_quarantined_total Records that could not be read.
# TYPE doorstep_quarantined_total counter
doorstep_quarantined_total{reader="sender",topic="t.deliveries"} 1
`)); err != nil {
		t.Error(err)
	}
}

func TestAValueThatIsTooLargeIsCut(t *testing.T) {
	for name, tt := range map[string]struct {
		size int
		cut  bool
	}{
		"one that fits":       {kafka.MaxRecordBytes / 2, false},
		"as large as it gets": {kafka.MaxRecordBytes, true}, // its position and reason come on top
		"far too large":       {8 << 20, true},
	} {
		t.Run(name, func(t *testing.T) {
			value := bytes.Repeat([]byte("0123456789abcdef"), tt.size/16)
			kept, err := newWard(t, "t.quarantine").Record(unreadable(value), errors.New("does not decode"))
			if err != nil {
				t.Fatal(err)
			}
			if len(kept.Value) > kafka.MaxRecordBytes {
				t.Fatalf("a record of %d bytes will not be written", len(kept.Value))
			}
			got, err := wire.ReadQuarantine(kept)
			if err != nil {
				t.Fatal(err)
			}
			if cut := len(got.Value) < len(value); cut != tt.cut || cut != strings.Contains(got.Reason, "too large to be kept whole") {
				t.Errorf("%d of %d bytes kept, reason %q", len(got.Value), len(value), got.Reason)
			}
			if !bytes.HasPrefix(value, got.Value) || len(got.Value) == 0 || !strings.HasPrefix(got.Reason, "does not decode") {
				t.Errorf("want the value's beginning and the reason, got %d bytes and %q", len(got.Value), got.Reason)
			}
			if want := unreadable(nil); got.Position != wire.PositionOf(want) {
				t.Errorf("position %v", got.Position)
			}
		})
	}
}

func TestReadersOfOneProcessShareTheMetric(t *testing.T) {
	reg := prometheus.NewRegistry()
	for _, reader := range []string{"sender", "matcher"} {
		q, err := quarantine.New("t.quarantine", reader, slog.New(slog.DiscardHandler), reg, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Record(unreadable(nil), errors.New("no value")); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := testutil.GatherAndCount(reg, "doorstep_quarantined_total"); err != nil || n != 2 {
		t.Errorf("%d series, want one for each reader: %v", n, err)
	}
}

func TestWriteToAClosedClientIsLogged(t *testing.T) {
	client, err := kafka.Config{Brokers: []string{"127.0.0.1:1"}}.NewClient("test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	w := newWard(t, "t.quarantine")
	w.Write(kafka.NewWriter(client, slog.New(slog.DiscardHandler)), unreadable([]byte("s3cret")), errors.New("does not decode"))
	for _, want := range []string{"record quarantined", "quarantine record not written"} {
		select {
		case line := <-w.log:
			if !strings.Contains(line, want) || strings.Contains(line, "s3cret") {
				t.Errorf("want %q, got %s", want, line)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("not logged: %s", want)
		}
	}
}
