package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

// sound is a data directory of a log with everything in it: plain, transactional and compacted records in
// several segments, an aborted transaction, readers' places. It was stopped in order, or copied while it ran.
type sound struct {
	dir  string
	end  map[string]int64 // by topic
	want map[string][]string
}

const aborted = "aborted"

// memoryDir is a directory in memory where there is such a place: on a disk, each of thousands of files waits for it.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "doorstep-") //nolint:usetesting // which would not be in memory
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func makeSound(t *testing.T, stopped bool) sound {
	t.Helper()
	s := sound{dir: memoryDir(t), end: map[string]int64{}, want: map[string][]string{}}
	servers := openTest(t, s.dir)
	plain := client(t, servers.Brokers(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	txn := client(t, servers.Brokers(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.TransactionalID("matcher"))
	createTopic(t, plain, "events", nil)
	createTopic(t, plain, "deliveries", nil)
	createTopic(t, plain, "states", compacted())
	produce := func(cl *kgo.Client, topic string, i int, word string) {
		value := fmt.Sprintf("%s %s %04d %s", topic, word, i, strings.Repeat("x", 2000))
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if word != aborted {
			s.want[topic] = append(s.want[topic], value)
		}
	}
	for i := range 300 {
		produce(plain, "events", i, "kept")
	}
	for i := range 20 {
		produce(plain, "states", i, "kept")
		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		word, end := "kept", kgo.TryCommit
		if i%4 == 3 {
			word, end = aborted, kgo.TryAbort
		}
		produce(txn, "deliveries", i, word)
		if err := txn.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	for topic := range s.want {
		s.end[topic] = endOf(t, plain, topic)
	}
	commit(t, plain, "matcher", "events", s.end["events"])
	servers.log.notedPlacesAt = time.Time{}
	servers.keep(t.Context())
	plain.Close()
	txn.Close()
	if stopped {
		servers.Close()
		return s
	}
	copied := memoryDir(t)
	if err := os.CopyFS(copied, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	s.dir = copied
	return s
}

// openDamaged opens a damaged directory. A refusal must be one line that names the directory.
func openDamaged(t *testing.T, dir string) (s *Servers, said *bytes.Buffer, refused error) {
	t.Helper()
	said = new(bytes.Buffer)
	s, err := Open(t.Context(), Config{Dir: dir, Log: true, LogMaxBytes: MinLogMaxBytes, Logger: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		if text := err.Error(); !strings.HasPrefix(text, "data directory "+dir) || strings.Contains(text, "\n") {
			t.Errorf("refused with %q, want one line that names the directory", text)
		}
		return nil, said, err
	}
	t.Cleanup(s.Close)
	return s, said, nil
}

// read reads a topic as senders do.
func read(t *testing.T, s *Servers, topic string) (values []string) {
	t.Helper()
	cl := client(t, s.Brokers(), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	defer cl.Close()
	end, last := endOf(t, cl, topic), int64(-1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// A mark ends the topic, so that it is known when all has been read.
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte("end"), Value: []byte("end")}).FirstErr(); err != nil {
		t.Fatalf("nothing can be written to %s any more: %v", topic, err)
	}
	for {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s up to %d, from %d: %v", topic, end, last, err)
		}
		done := false
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset <= last {
				t.Errorf("%s: offset %d after %d", topic, r.Offset, last)
			}
			last = r.Offset
			if done = string(r.Value) == "end"; !done {
				values = append(values, string(r.Value))
			}
		})
		if done {
			return values
		}
	}
}

// place is where the batch of a value stands in a segment file.
type place struct {
	value    string
	from, to int
}

// valueIn finds the one value of a batch.
var valueIn = regexp.MustCompile(`(events|deliveries|states) kept \d{4} x{1000}x{1000}`)

func placesIn(raw []byte) []place {
	var all []place
	for at := 0; at < len(raw); {
		to := at + 12 + int(binary.BigEndian.Uint32(raw[at+8:]))
		if value := valueIn.Find(raw[at:to]); value != nil {
			all = append(all, place{string(value), at, to})
		}
		at = to
	}
	return all
}

// damage is one thing that is done to a file.
type damage struct {
	file string
	kind string
	at   int
	with []byte
}

func (d damage) String() string {
	return fmt.Sprintf("%s at %d of %s (%d bytes)", d.kind, d.at, d.file, len(d.with))
}

// do damages the file in dir and returns the values whose batches it has touched.
func (d damage) do(t *testing.T, dir string) (touched []string) {
	t.Helper()
	path := filepath.Join(dir, d.file)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, to := d.at, len(raw)
	out := slices.Clone(raw)
	switch d.kind {
	case "remove":
		from = 0
	case "empty":
		from, out = 0, nil
	case "cut":
		out = out[:d.at]
	case "overwrite":
		to = min(len(raw), d.at+len(d.with))
		copy(out[d.at:], d.with)
	case "append":
		from = len(raw)
		out = append(out, d.with...)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if d.kind != "remove" {
		if err := os.WriteFile(path, out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if filepath.Ext(path) == ".dat" {
		for _, p := range placesIn(raw) {
			if p.from < to && p.to > from {
				touched = append(touched, p.value)
			}
		}
	}
	return touched
}

// files are the files of a data directory that may be damaged.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !slices.Contains([]string{"lock", "spare"}, d.Name()) {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// check opens a copy of s after damages: it is refused, or all that was not touched is there.
func (s sound) check(t *testing.T, damages ...damage) (said string, refused error) {
	t.Helper()
	dir := memoryDir(t)
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	gone := map[string]bool{}
	done := map[string]bool{}
	for _, d := range damages {
		if done[d.file] {
			continue // what it touches is known of the sound file only
		}
		done[d.file] = true
		for _, value := range d.do(t, dir) {
			gone[value] = true
		}
	}
	defer os.RemoveAll(dir)
	servers, text, err := openDamaged(t, dir)
	if err != nil {
		return text.String(), err
	}
	defer servers.Close()
	for topic, want := range s.want {
		got := map[string]bool{}
		for _, value := range read(t, servers, topic) {
			got[value] = true
			if strings.Contains(value[:min(len(value), 30)], aborted) {
				t.Errorf("%v: an aborted record counts", damages)
			}
		}
		for _, value := range want {
			if !got[value] && !gone[value] {
				t.Errorf("%v: %.22s is lost, and was not touched; it said:\n%s", damages, value, text)
				break
			}
		}
	}
	return text.String(), nil
}

// Whatever one write too few or one too many does to the end of a partition: what is before it stays.
func TestCutAtEveryByteOfTheLastBatch(t *testing.T) {
	s := makeSound(t, false)
	file := lastSegment(t, s.dir, "events")
	raw, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	batches := placesIn(raw)
	last := batches[len(batches)-1]
	dir := memoryDir(t)
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	// Within the value, which is the same letter all over, every seventh byte.
	for at := last.from; at < last.to; at++ {
		if at > last.from+100 && at < last.to-50 && (at-last.from)%7 != 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, file), raw[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := logfiles.Mend(logDir(dir), logfiles.Known{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		// The reader had committed the record that is cut: its number is not given out again.
		end, err := logfiles.End(filepath.Join(dir, filepath.Dir(file)))
		if err != nil || end != s.end["events"] {
			t.Fatalf("cut at %d: ends at %d, %v; want %d", at-last.from, end, err, s.end["events"])
		}
		if text := fmt.Sprint(found); at > last.from && !strings.Contains(text, fmt.Sprintf("cut %d bytes at its end, of a write that was not finished", at-last.from)) ||
			!strings.Contains(text, "events-0: 1 records are lost, offsets 299 to 299") {
			t.Fatalf("cut at %d: it says %s", at-last.from, text)
		}
	}
	for _, at := range []int{last.from, last.from + 1, last.from + 30, last.to - 1} {
		s.check(t, damage{file: file, kind: "cut", at: at})
	}
}

func lastSegment(t *testing.T, dir, topic string) string {
	t.Helper()
	p := logfiles.Partition{Topic: topic}
	of, err := logfiles.ReadPartition(logfiles.PartitionDir(logDir(dir), p))
	if err != nil || len(of) == 0 {
		t.Fatalf("%v %v", of, err)
	}
	return fmt.Sprintf("log/partitions/%s-0/%d.dat", topic, of[len(of)-1].Base)
}

// damageRuns is how many directories are damaged at random; the environment asks for more, and for every kind of
// damage to every file.
func damageRuns(t *testing.T) (runs int, thorough bool) {
	t.Helper()
	runs, err := strconv.Atoi(os.Getenv("DAMAGE_RUNS"))
	if err != nil {
		return 10, false
	}
	return runs, true
}

// Each file, missing, empty, cut in half, with garbage at its end or all over it.
func TestEveryFileDamaged(t *testing.T) {
	_, thorough := damageRuns(t)
	for _, stopped := range []bool{true, false} {
		if !stopped && !thorough {
			continue
		}
		s := makeSound(t, stopped)
		garbage := bytes.Repeat([]byte("garbage\x00\xff"), 40)
		for _, file := range files(t, s.dir) {
			if !thorough && !slices.Contains(telling(), file) {
				continue
			}
			info, err := os.Stat(filepath.Join(s.dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []damage{
				{file: file, kind: "remove"}, {file: file, kind: "empty"}, {file: file, kind: "cut", at: int(info.Size() / 2)},
				{file: file, kind: "append", with: garbage}, {file: file, kind: "append", with: make([]byte, 4096)},
				{file: file, kind: "overwrite", with: garbage}, {file: file, kind: "overwrite", at: int(info.Size() / 2), with: garbage},
			} {
				said, refused := s.check(t, d)
				if refused != nil && file != "VERSION" {
					t.Errorf("stopped %v, %v: %v", stopped, d, refused)
				}
				if testing.Verbose() {
					t.Logf("stopped %v, %v: refused %v, told %d lines", stopped, d, refused, strings.Count(said, "\n"))
				}
			}
		}
	}
}

// telling are the files that are damaged in every run of the tests: one of each kind that matters.
func telling() []string {
	return []string{
		"log/meta.json", "log/topics.json", "log/groups.log", "log/partitions/events-0/0.dat", "log/partitions/deliveries-0/0.idx",
	}
}

// Random damage to several files at once.
func TestRandomDamage(t *testing.T) {
	n, _ := damageRuns(t)
	checks := flag.Lookup("rapid.checks").Value
	before := checks.String()
	defer func() { _ = checks.Set(before) }()
	if err := checks.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	clean, crashed := makeSound(t, true), makeSound(t, false)
	runs, refusals, why := 0, 0, map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		s := clean
		if rapid.Bool().Draw(rt, "crashed") {
			s = crashed
		}
		all := files(t, s.dir)
		one := rapid.Custom(func(rt *rapid.T) damage {
			file := rapid.SampledFrom(all).Draw(rt, "file")
			info, err := os.Stat(filepath.Join(s.dir, file))
			if err != nil {
				rt.Fatal(err)
			}
			return damage{
				file: file, kind: rapid.SampledFrom([]string{"remove", "empty", "cut", "overwrite", "overwrite", "overwrite", "append"}).Draw(rt, "kind"),
				at:   rapid.IntRange(0, int(max(0, info.Size()-1))).Draw(rt, "at"),
				with: rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(rt, "with"),
			}
		})
		damages := rapid.SliceOfN(one, 1, 4).Draw(rt, "damages")
		runs++
		if _, refused := s.check(t, damages...); refused != nil {
			refusals++
			_, reason, _ := strings.Cut(refused.Error(), "/shm/") // without the directory, where it is in memory
			_, reason, _ = strings.Cut(reason, " ")
			why[reason]++
		}
		if t.Failed() {
			rt.Fatalf("after %v", damages)
		}
	})
	t.Logf("%d directories damaged at random, %d of them refused, the others read: %v", runs, refusals, why)
}
