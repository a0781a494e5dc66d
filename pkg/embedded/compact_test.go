package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

func compacted() map[string]*string {
	return map[string]*string{"cleanup.policy": new("compact")}
}

func statesSize(t *testing.T, s *Servers) int64 {
	t.Helper()
	of, err := logfiles.ReadPartition(logfiles.PartitionDir(logDir(s.cfg.Dir), logfiles.Partition{Topic: "states", P: 0}))
	if err != nil {
		t.Fatal(err)
	}
	return logfiles.SizeOf(of)
}

// A compacted topic written over and over stays small, also after a restart, and nothing of it is
// trimmed or grows too old: the first webhook ever registered must still be there.
func TestCompactedTopicStaysSmallAndWhole(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		s := openTest(t, dir)
		cl := client(t, s.Brokers())
		if round == 0 {
			createTopic(t, cl, "states", compacted())
			old := &kgo.Record{Topic: "states", Key: []byte("old"), Value: []byte("kept"), Timestamp: time.Now().AddDate(-1, 0, 0)}
			if err := cl.ProduceSync(t.Context(), old).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, cl, "states", 6, func(i int) string { return fmt.Sprint("webhook ", i%4) })
		s.keep(t.Context())
		if got := statesSize(t, s); got > 1<<20 {
			t.Errorf("round %d: 4 keys of 16 KiB take %d bytes", round, got)
		}
		if got := readAll(t, s, "states"); len(got) > 10 || got[0] != "kept" {
			t.Errorf("round %d: %d records, the oldest %.9q", round, len(got), got[0])
		}
		cl.Close()
		s.Close()
	}
}

func TestOpenTransactionPutsCompactionOff(t *testing.T) {
	s := openTest(t, t.TempDir())
	cl := client(t, s.Brokers(), kgo.TransactionalID("outbox"))
	createTopic(t, cl, "states", compacted())
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	fill(t, cl, "states", 6, func(int) string { return "one key" })
	s.keep(t.Context())
	if got := statesSize(t, s); got < 6<<20 {
		t.Errorf("compacted to %d within a transaction", got)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	s.keep(t.Context())
	if got := statesSize(t, s); got > 1<<20 {
		t.Errorf("still %d after the transaction", got)
	}
}

// Retention empties a partition; it goes on where it was after a restart all the same.
func TestRetentionKeepsOffsets(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	cl := client(t, s.Brokers())
	createTopic(t, cl, "events", map[string]*string{"retention.ms": new("1")})
	fill(t, cl, "events", 1, nil)
	end := endOf(t, cl, "events")
	s.log.retainedAt = time.Now().Add(-retainEvery)
	s.keep(t.Context())
	all, err := logfiles.Read(logDir(dir))
	if err != nil || all.Size() != 0 {
		t.Fatalf("%d bytes left behind retention, %v", all.Size(), err)
	}
	cl.Close()
	s.Close()
	s = openTest(t, dir)
	if got := endOf(t, client(t, s.Brokers()), "events"); got != end {
		t.Errorf("ends at %d after a restart, want %d", got, end)
	}
}

// A crash may leave a partition as the broker's compaction does half way: some files gone, some
// written anew.
func TestCrashWithinCompaction(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, part string, of []logfiles.Segment){
		"all files gone": func(t *testing.T, part string, of []logfiles.Segment) {
			for _, seg := range of {
				remove(t, filepath.Join(part, fmt.Sprint(seg.Base, ".dat")))
			}
		},
		"the last gone": func(t *testing.T, part string, of []logfiles.Segment) {
			remove(t, filepath.Join(part, fmt.Sprint(of[len(of)-1].Base, ".dat")))
		},
		"the first cut short, the rest gone": func(t *testing.T, part string, of []logfiles.Segment) {
			for _, seg := range of[1:] {
				remove(t, filepath.Join(part, fmt.Sprint(seg.Base, ".dat")))
			}
			first := filepath.Join(part, fmt.Sprint(of[0].Base, ".dat"))
			b, err := os.ReadFile(first)
			if err != nil {
				t.Fatal(err)
			}
			remove(t, first) // a new file, as the broker makes: the old one lives on aside
			if err := os.WriteFile(first, b[:len(b)-9], 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"not begun": func(*testing.T, string, []logfiles.Segment) {},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTest(t, dir)
			cl := client(t, s.Brokers())
			createTopic(t, cl, "states", compacted())
			fill(t, cl, "states", 1, func(i int) string { return fmt.Sprint(i) })
			cl.Close()
			s.Close()

			all, err := logfiles.Read(logDir(dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := keepAside(dir, all); err != nil {
				t.Fatal(err)
			}
			p := logfiles.Partition{Topic: "states", P: 0}
			crash(t, logfiles.PartitionDir(logDir(dir), p), all[p])

			s = openTest(t, dir)
			if got := len(readAll(t, s, "states")); got != 64 {
				t.Errorf("%d records of 64", got)
			}
			if _, err := os.Stat(asideDir(dir)); !os.IsNotExist(err) {
				t.Errorf("the links are still there: %v", err)
			}
		})
	}
}

// What was written after a compaction that was only not cleaned up stays.
func TestCrashAfterCompaction(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	cl := client(t, s.Brokers())
	createTopic(t, cl, "states", compacted())
	fill(t, cl, "states", 1, func(int) string { return "one key" })
	all, err := logfiles.Read(logDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := keepAside(dir, all); err != nil {
		t.Fatal(err)
	}
	s.log.cluster.Compact()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "states", Key: []byte("new"), Value: []byte("new")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	s.Close()
	s = openTest(t, dir)
	if got := readAll(t, s, "states"); len(got) > 4 || got[len(got)-1] != "new" {
		t.Errorf("%d records, want the compacted ones and the new one", len(got))
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
