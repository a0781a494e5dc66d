package kafka

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestResumeFromMetadata leaves as many records unfinished as may be open, each with a long run of finished
// ones behind it: the longest metadata there is. The next member gets the unfinished ones, and those alone.
func TestResumeFromMetadata(t *testing.T) {
	const gap = 200 // finished behind each open one; its length takes two bytes
	cfg := Config{Brokers: testkit.Broker(t), TopicPrefix: testkit.Prefix(t)}
	topic, group := cfg.TopicPrefix+"lane", cfg.TopicPrefix+"g"
	writer, err := cfg.NewClient("test", slog.New(slog.DiscardHandler), kgo.DefaultProduceTopic(topic), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	adm := kadm.NewClient(writer)
	testkit.Topics(t, cfg.Brokers, 1, topic)
	for range maxOpen * (gap + 1) {
		writer.Produce(t.Context(), &kgo.Record{Value: []byte("x")}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := writer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// read takes records in hand until all are read, and finishes those that finish says.
	read := func(finish func(offset int64) bool) (taken []int64) {
		l, err := NewLanes(cfg, LanesConfig{
			Topics: []string{topic}, Group: group, Revoked: func([]*Part) {}, Released: func([]*Part) {}, Grace: time.Millisecond,
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for last := int64(-1); last < maxOpen*(gap+1)-1; {
			batches, err := l.Poll(t.Context(), MaxPoll)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range batches {
				for _, rec := range b.Records {
					last = rec.Offset
					if !b.Part.Start(last) {
						continue
					}
					taken = append(taken, last)
					if b.Part.Begin() {
						if finish(last) {
							b.Part.Done(last)
						} else {
							b.Part.GiveUp()
						}
					}
				}
			}
		}
		if err := l.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return taken
	}
	open := func(offset int64) bool { return offset%(gap+1) == 0 }
	if got := read(func(o int64) bool { return !open(o) }); len(got) != maxOpen*(gap+1) {
		t.Fatalf("the first member got %d records", len(got))
	}
	committed, err := adm.FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := committed.Lookup(topic, 0)
	t.Logf("committed %d with %d bytes of metadata", at.At, len(at.Metadata))
	if at.At != 0 || len(at.Metadata) < 4000 || len(at.Metadata) > maxMetadata || !strings.HasPrefix(at.Metadata, metadataVersion) {
		t.Errorf("committed %d with %d bytes of metadata", at.At, len(at.Metadata))
	}
	got := read(func(int64) bool { return true })
	if len(got) != maxOpen {
		t.Fatalf("the next member got %d records, want the %d unfinished", len(got), maxOpen)
	}
	for _, o := range got {
		if !open(o) {
			t.Fatalf("record %d was finished and came again", o)
		}
	}
	if committed, err = adm.FetchOffsets(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	if at, _ := committed.Lookup(topic, 0); at.At != maxOpen*(gap+1) || at.Metadata != "" {
		t.Errorf("at the end: %d, %d bytes of metadata", at.At, len(at.Metadata))
	}
}
