package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestLag writes records in a transaction, whose marker is no record: the lag is what has not been polled, also while
// nobody polls, and nothing once all is.
func TestLag(t *testing.T) {
	const n = 1200
	cfg := Config{Brokers: testkit.Broker(t), TopicPrefix: testkit.Prefix(t)}
	topic := cfg.TopicPrefix + "lane"
	testkit.Topics(t, cfg.Brokers, 1, topic)
	writer, err := cfg.NewClient("test", slog.New(slog.DiscardHandler), kgo.DefaultProduceTopic(topic), kgo.TransactionalID(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	transaction := func(n int) {
		t.Helper()
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range n {
			writer.Produce(t.Context(), &kgo.Record{Value: []byte("x")}, nil)
		}
		if err := writer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := writer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	l, err := NewLanes(cfg, LanesConfig{
		Topics: []string{topic}, Group: cfg.TopicPrefix + "g", Revoked: func([]*Part) {}, Released: func([]*Part) {}, Grace: time.Millisecond,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	poll := func() int {
		t.Helper()
		batches, err := l.Poll(t.Context(), MaxPoll)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, b := range batches {
			got += len(b.Records)
		}
		return got
	}
	lag := func() (sum int64) {
		t.Helper()
		of, err := l.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range of {
			sum += n
		}
		return sum
	}
	transaction(1)
	for poll() == 0 { // it has joined
	}
	transaction(n)
	read := 0
	for read < n/3 {
		read += poll()
	}
	for range 3 { // nobody polls: what is left stays
		if got := lag(); got < int64(n-read) || got > int64(n-read)+2 {
			t.Errorf("%d records of %d are read, the lag is %d", read, n, got)
		}
	}
	for read < n {
		read += poll()
	}
	waiting, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = l.Poll(waiting, MaxPoll)
	}()
	testkit.Eventually(t, 10*time.Second, func() error {
		if got := lag(); got != 0 {
			return fmt.Errorf("all is read, the lag is %d", got)
		}
		return nil
	})
	stop()
	<-ended

	// What comes while a partition is paused is lag, although a Poll waits.
	for _, p := range l.Parts() {
		l.Pause(p)
	}
	transaction(n)
	waiting, stop = context.WithCancel(t.Context())
	defer stop()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = l.Poll(waiting, MaxPoll)
	}()
	testkit.Eventually(t, 10*time.Second, func() error { // a broker writes the markers of a transaction that has ended a little later
		if got := lag(); got < n {
			return fmt.Errorf("%d records came while the partition was paused, the lag is %d", n, got)
		}
		return nil
	})
	for range 3 {
		if got := lag(); got < n {
			t.Errorf("%d records came while the partition was paused, and then the lag is %d", n, got)
		}
	}
	stop()
	<-ended
}
