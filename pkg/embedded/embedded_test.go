package embedded

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

// TestMain runs this binary as a process with an embedded log when a test asks for one to kill.
func TestMain(m *testing.M) {
	if dir := os.Getenv("EMBEDDED_TEST_DIR"); dir != "" {
		serve(dir)
		return
	}
	if dir := os.Getenv("EMBEDDED_TEST_WORK"); dir != "" {
		if err := work(dir); err != nil {
			fmt.Println(err)
		}
		return
	}
	os.Exit(m.Run())
}

func serve(dir string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s, err := Open(ctx, Config{Dir: dir, Log: true, LogMaxBytes: MinLogMaxBytes})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println(s.Brokers()[0])
	_ = s.Run(ctx)
}

// openTest opens an embedded log with the smallest bound. Nothing runs beside the test: it calls
// keep itself.
func openTest(t *testing.T, dir string) *Servers {
	t.Helper()
	s, err := Open(t.Context(), Config{
		Dir: dir, Log: true, LogMaxBytes: MinLogMaxBytes,
		Kept: []string{"suspended"}, Readers: map[string][]string{"recorder": {"attempts", "suspended"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, cl *kgo.Client, topic string, configs map[string]*string) {
	t.Helper()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, configs, topic); err != nil {
		t.Fatal(err)
	}
}

// fill produces records of 16 KiB that do not compress, mib MiB of them, one batch each.
func fill(t *testing.T, cl *kgo.Client, topic string, mib int, key func(i int) string) {
	t.Helper()
	const size = 16 << 10
	random := rand.NewChaCha8([32]byte{})
	for i := range mib << 20 / size {
		value := make([]byte, size)
		_, _ = random.Read(value)
		rec := &kgo.Record{Topic: topic, Value: value}
		if key != nil {
			rec.Key = []byte(key(i))
		}
		if err := cl.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func endOf(t *testing.T, cl *kgo.Client, topic string) int64 {
	t.Helper()
	listed, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := listed.Lookup(topic, 0)
	return o.Offset
}

func commit(t *testing.T, cl *kgo.Client, group, topic string, offset int64) {
	t.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, offset, -1)
	if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), group, offsets); err != nil {
		t.Fatal(err)
	}
}

func TestRedisClockExpiresKeys(t *testing.T) {
	s, err := Open(t.Context(), Config{Redis: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	opts, err := redis.ParseURL(s.RedisURL())
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	if err := rdb.Set(t.Context(), "seen", "1", 24*time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	s.redis.advance(time.Now().Add(23 * time.Hour))
	if n := rdb.Exists(t.Context(), "seen").Val(); n != 1 {
		t.Error("gone after 23 h, want it for 24 h")
	}
	s.redis.advance(time.Now().Add(25 * time.Hour))
	if n := rdb.Exists(t.Context(), "seen").Val(); n != 0 {
		t.Error("still there after 25 h")
	}
	if s.Room() != nil || s.RoomToMatch() != nil {
		t.Error("no room, with nothing on disk")
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir)
	_, err := Open(t.Context(), Config{Dir: dir, SQL: true})
	if err == nil || !strings.Contains(err.Error(), "in use by another doorstep") {
		t.Errorf("second Open = %v", err)
	}
}

func TestTrimsBehindEveryGroupAndFreesDisk(t *testing.T) {
	s := openTest(t, t.TempDir())
	cl := client(t, s.Brokers())
	createTopic(t, cl, "events", nil)
	fill(t, cl, "events", 14, nil)
	end := endOf(t, cl, "events")

	size := func() int64 {
		s.keep(t.Context())
		all, err := logfiles.Read(logDir(s.cfg.Dir))
		if err != nil {
			t.Fatal(err)
		}
		return all.Size()
	}
	full := size()
	if full < 14<<20 {
		t.Fatalf("log holds %d bytes without a reader, want all 14 MiB", full)
	}
	commit(t, cl, "matcher", "events", end)
	commit(t, cl, "recorder", "events", 0)
	if got := size(); got != full {
		t.Errorf("trimmed to %d behind a reader that wants it all", got)
	}
	commit(t, cl, "recorder", "events", end)
	if got, want := size(), int64(MinLogMaxBytes*5/8); got > want || got < want-2<<20 {
		t.Errorf("trimmed to %d, want just below %d", got, want)
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(t.Context(), "events")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := starts.Lookup("events", 0); o.Offset == 0 || o.Offset >= end {
		t.Errorf("log starts at %d, want it inside 1..%d", o.Offset, end)
	}
}

func TestRoomEndsAtTheBoundAndComesBack(t *testing.T) {
	s := openTest(t, t.TempDir())
	cl := client(t, s.Brokers())
	createTopic(t, cl, "events", nil)
	fill(t, cl, "events", 17, nil)
	s.keep(t.Context())
	if err := s.Room(); err == nil || !strings.Contains(err.Error(), "17 MiB of undelivered records, its bound is 16 MiB") {
		t.Errorf("Room = %v", err)
	}
	if err := s.RoomToMatch(); err != nil {
		t.Errorf("RoomToMatch = %v; a matcher that stops here never makes room", err)
	}
	commit(t, cl, "matcher", "events", endOf(t, cl, "events"))
	s.keep(t.Context())
	if err := s.Room(); err != nil {
		t.Errorf("Room after the reader caught up = %v", err)
	}
}

// A reader that is known to come holds what it has not read, although another has.
func TestAReaderThatHasNotComeYetHoldsItsTopics(t *testing.T) {
	s := openTest(t, t.TempDir())
	cl := client(t, s.Brokers())
	createTopic(t, cl, "attempts", nil)
	fill(t, cl, "attempts", 17, nil)
	end := endOf(t, cl, "attempts")
	commit(t, cl, "console", "attempts", end)
	s.keep(t.Context())
	if err := s.Room(); err == nil {
		t.Error("what the recorder has not read is trimmed")
	}
	commit(t, cl, "recorder", "attempts", end)
	s.keep(t.Context())
	if err := s.Room(); err != nil {
		t.Errorf("Room after the recorder has read all = %v", err)
	}
}

func TestKeptTopicIsNotTrimmed(t *testing.T) {
	s := openTest(t, t.TempDir())
	cl := client(t, s.Brokers())
	createTopic(t, cl, "suspended", nil)
	fill(t, cl, "suspended", 17, nil)
	commit(t, cl, "recorder", "suspended", endOf(t, cl, "suspended"))
	s.keep(t.Context())
	if err := s.Room(); err == nil {
		t.Error("a kept topic is trimmed")
	}
}

// A reader of a transactional topic commits the offset before the last end mark, and for a while
// nothing may follow: all of the partition can go all the same.
func TestTrimsATransactionalPartitionWhole(t *testing.T) {
	s := openTest(t, t.TempDir())
	cl := client(t, s.Brokers(), kgo.TransactionalID("matcher"))
	createTopic(t, cl, "deliveries", nil)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	fill(t, cl, "deliveries", 1, nil)
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	end := endOf(t, cl, "deliveries")
	commit(t, cl, "sender", "deliveries", end-1)
	if _, _, err := s.log.keep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	of, err := logfiles.ReadPartition(logfiles.PartitionDir(logDir(s.cfg.Dir), logfiles.Partition{Topic: "deliveries", P: 0}))
	if err != nil || logfiles.SizeOf(of) != 0 {
		t.Errorf("%d bytes left, %v; want none", logfiles.SizeOf(of), err)
	}
	if got := endOf(t, cl, "deliveries"); got != end {
		t.Errorf("ends at %d, want %d", got, end)
	}
}

// An emptied partition goes on where it was, after a clean stop as after a crash; else its readers'
// commits would lie beyond its end.
func TestEmptiedPartitionKeepsItsOffsets(t *testing.T) {
	for _, how := range []string{"stopped", "killed"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			broker, stop := startProcess(t, dir)
			cl := client(t, []string{broker})
			createTopic(t, cl, "events", nil)
			fill(t, cl, "events", 8, nil)
			end := endOf(t, cl, "events")
			commit(t, cl, "matcher", "events", end)
			cl.Close()
			stop(true)

			// Everything goes, as when the disk is short.
			s := openTest(t, dir)
			if _, trimmed, err := s.log.keep(t.Context(), true); err != nil || trimmed < 8<<20 {
				t.Fatalf("trimmed %d, %v", trimmed, err)
			}
			s.Close()
			for range 2 { // twice: the first start must not spoil it for the second
				broker, stop = startProcess(t, dir)
				cl = client(t, []string{broker})
				if got := endOf(t, cl, "events"); got != end {
					t.Fatalf("ends at %d after a restart, want %d", got, end)
				}
				cl.Close()
				stop(how == "killed")
			}
			s = openTest(t, dir)
			cl = client(t, s.Brokers())
			fill(t, cl, "events", 1, nil)
			if got := endOf(t, cl, "events"); got != end+64 {
				t.Errorf("64 records on it ends at %d, want %d", got, end+64)
			}
		})
	}
}

func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acked := 0
	for range 3 {
		broker, stop := startProcess(t, dir)
		// An idempotent producer would wait for ever to learn what became of its last record.
		cl := client(t, []string{broker}, kgo.DisableIdempotentWrite(), kgo.RecordRetries(1), kgo.RequestRetries(1),
			kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))
		if acked == 0 {
			createTopic(t, cl, "events", nil)
		}
		killed := make(chan struct{})
		for i := range 2000 {
			if i == 1000 {
				go func() { defer close(killed); stop(true) }()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := cl.ProduceSync(ctx, &kgo.Record{Topic: "events", Value: fmt.Appendf(nil, "event %d", acked)}).FirstErr()
			cancel()
			if err != nil {
				break
			}
			acked++
		}
		<-killed
		cl.Close()
	}
	s := openTest(t, dir)
	got := readAll(t, s, "events")
	if want := fmt.Sprintf("event %d", acked-1); acked < 3000 || !slices.Contains(got, want) {
		t.Errorf("%d acknowledged, the last is not there", acked)
	}
	if len(got) < acked {
		t.Errorf("%d records, %d were acknowledged", len(got), acked)
	}
}

func readAll(t *testing.T, s *Servers, topic string) []string {
	t.Helper()
	cl := client(t, s.Brokers(), kgo.ConsumeTopics(topic))
	var got []string
	for next, end := int64(0), endOf(t, cl, topic); next < end; {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got, next = append(got, string(r.Value)), r.Offset+1 })
	}
	return got
}

// startProcess runs an embedded log in a process of its own; stop ends it, by kill -9 if asked.
func startProcess(t *testing.T, dir string) (broker string, stop func(kill bool)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EMBEDDED_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "127.0.0.1:") {
		t.Fatalf("process says %q, %v", line, err)
	}
	return strings.TrimSpace(line), func(kill bool) {
		if kill {
			_ = cmd.Process.Kill()
		} else {
			_ = cmd.Process.Signal(os.Interrupt)
		}
		_ = cmd.Wait()
	}
}
