package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

// While the gate is closed nothing is written and nobody is told that it was; once it opens, clients that
// waited go on by themselves, transactions too.
func TestGateHoldsWritersUntilThereIsRoom(t *testing.T) {
	dir := t.TempDir()
	var full atomic.Bool
	s, err := Open(t.Context(), Config{Dir: dir, Log: true, LogMaxBytes: MinLogMaxBytes, room: func(string) error {
		if full.Load() {
			return errors.New("full")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	cl := client(t, s.Brokers())
	createTopic(t, cl, "events", nil)
	createTopic(t, cl, "deliveries", nil)
	txn := client(t, s.Brokers(), kgo.TransactionalID("matcher"))
	if err := txn.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := txn.ProduceSync(t.Context(), &kgo.Record{Topic: "deliveries", Value: []byte("one")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	before := sizeOnDisk(t, dir)
	done := make(chan error, 2)
	go func() {
		done <- cl.ProduceSync(context.Background(), &kgo.Record{Topic: "events", Value: []byte("one")}).FirstErr()
	}()
	go func() { done <- txn.EndTransaction(context.Background(), kgo.TryCommit) }()
	var offsets kadm.Offsets
	offsets.AddOffset("events", 0, 0, -1)
	within, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	committed, err := kadm.NewClient(cl).CommitOffsets(within, "matcher", offsets)
	if err == nil {
		err = committed.Error()
	}
	if err == nil {
		t.Error("a place is committed while there is no room")
	}
	select {
	case err := <-done:
		t.Errorf("a write ends while there is no room: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	if after := sizeOnDisk(t, dir); after != before {
		t.Errorf("%d bytes were written while there was no room", after-before)
	}
	full.Store(false)
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("after there is room: %v", err)
		}
	}
	if got := read(t, s, "deliveries"); len(got) != 1 {
		t.Errorf("%q committed, want one record", got)
	}
}

func sizeOnDisk(t *testing.T, dir string) int64 {
	t.Helper()
	all, err := logfiles.Read(logDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	return all.Size()
}

// The broker itself goes on after a write that failed. Here it stops, says why, and nothing that is
// asked of it afterwards is answered; a start later finds all that it had acknowledged.
func TestFailedWriteStopsTheLog(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("as root: a directory in the way of a segment, instead of permissions")
	}
	dir := t.TempDir()
	s, err := Open(t.Context(), Config{Dir: dir, Log: true, LogMaxBytes: MinLogMaxBytes, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	// An idempotent producer would wait for ever to learn what became of its records.
	cl := client(t, s.Brokers(), kgo.DisableIdempotentWrite(), kgo.RecordRetries(1), kgo.RequestRetries(1))
	createTopic(t, cl, "events", nil)
	createTopic(t, cl, "blocked", nil)
	fill(t, cl, "events", 1, nil)
	block := filepath.Join(logfiles.PartitionDir(logDir(dir), logfiles.Partition{Topic: "blocked"}), "0.dat")
	if err := os.MkdirAll(block, 0o700); err != nil {
		t.Fatal(err)
	}
	within, done := context.WithTimeout(t.Context(), 2*time.Second)
	defer done()
	if err := cl.ProduceSync(within, &kgo.Record{Topic: "blocked", Value: []byte("x")}).FirstErr(); err == nil {
		t.Error("a record that could not be written is acknowledged")
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "is a directory") || strings.Contains(err.Error(), "\n") {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run goes on after a write has failed")
	}
	if err := cl.ProduceSync(within, &kgo.Record{Topic: "events", Value: []byte("x")}).FirstErr(); err == nil {
		t.Error("the log goes on after a write has failed")
	}
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, dir)
	if got := len(read(t, again, "events")); got != 64 {
		t.Errorf("%d records of 64 after it", got)
	}
}

// The broker's own words are what tells that a write has failed: they must still be these.
func TestBrokerSaysThatAWriteFailed(t *testing.T) {
	for format, want := range map[string]bool{
		"persist batch %s-%d: %v": true, "persist batch open %s-%d: %v": true, "persist batch mkdir %s: %v": true,
		"persist group entry write: %v": true, "persist pid entry open: %v": true, "persist %s: %v": true,
		"rebuildSegments %s-%d: write: %v": true, "endTx: failed to persist control batch for %s p%d pid %d": true,
		"persist to disk: %v": false, "save session state: %v": false, "compact groups.log: create: %v": false, "txn: EndTxn slow pid=%d": false,
	} {
		if got := failedWrite(format); got != want {
			t.Errorf("%q: %v, want %v", format, got, want)
		}
	}
}

// The end mark of a transaction cannot be written, the readers' places could: the broker would tell its client that
// all is committed, and after a crash the places were, but not the records. So nothing more is written at all.
func TestFailedEndMarkCommitsNothing(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	plain := client(t, s.Brokers())
	createTopic(t, plain, "events", nil)
	createTopic(t, plain, "deliveries", nil)
	txn := client(t, s.Brokers(), kgo.TransactionalID("matcher"), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryTimeout(time.Second), kgo.RequestRetries(1))
	if err := txn.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	fill(t, txn, "deliveries", 1, nil) // 64 records of 16 KiB in segments of 16 or so
	all, err := logfiles.Read(logDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	deliveries := logfiles.Partition{Topic: "deliveries"}
	for sizes := all[deliveries]; sizes[len(sizes)-1].Size < 256<<10; sizes = all[deliveries] {
		if err := txn.ProduceSync(t.Context(), &kgo.Record{Topic: "deliveries", Value: make([]byte, 16<<10)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if all, err = logfiles.Read(logDir(dir)); err != nil {
			t.Fatal(err)
		}
	}
	// The mark is what begins the next segment.
	block := filepath.Join(logfiles.PartitionDir(logDir(dir), deliveries), strconv.FormatInt(endOf(t, plain, "deliveries"), 10)+".dat")
	if err := os.MkdirAll(block, 0o700); err != nil {
		t.Fatal(err)
	}
	stagePlace(t, txn)
	within, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := txn.EndTransaction(within, kgo.TryCommit); err == nil {
		t.Error("a transaction is committed whose end mark could not be written")
	}
	select {
	case <-s.Failed():
	default:
		t.Error("the log goes on")
	}
	// As after a crash, whether it has stopped or not.
	crashed := t.TempDir()
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, crashed)
	places, err := again.log.places(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(read(t, again, "deliveries")); got == 0 && len(places) > 0 {
		t.Errorf("its records are aborted, but its place is committed: %v", places)
	}
}

// stagePlace adds a place of the group matcher to the open transaction.
func stagePlace(t *testing.T, txn *kgo.Client) {
	t.Helper()
	id, epoch, err := txn.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = "matcher", id, epoch, "matcher"
	if resp, err := add.RequestWith(t.Context(), txn); err != nil || resp.ErrorCode != 0 {
		t.Fatal(err, resp)
	}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = "matcher", id, epoch, "matcher"
	topic, part := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset = 7
	listed, err := kadm.NewClient(txn).ListTopics(t.Context(), "events")
	if err != nil {
		t.Fatal(err)
	}
	topic.Topic, topic.TopicID, topic.Partitions = "events", listed["events"].ID, append(topic.Partitions, part)
	commit.Topics = append(commit.Topics, topic)
	resp, err := commit.RequestWith(t.Context(), txn)
	if err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatal(err, resp)
	}
}
