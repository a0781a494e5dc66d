package logfiles

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// batch makes a batch of records; what it holds does not matter here.
func batch(first int64, records int, fill byte) []byte {
	b := append(make([]byte, headSize), bytes.Repeat([]byte{fill}, 100)...)
	binary.BigEndian.PutUint64(b, uint64(first))
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-lengthBefore))
	b[posMagic] = magic
	binary.BigEndian.PutUint32(b[posLastDelta:], uint32(records-1))
	binary.BigEndian.PutUint32(b[posCRC:], checksum(b[posAttributes:]))
	return b
}

func segment(batches ...[]byte) []byte { return bytes.Join(batches, nil) }

// log makes the files of a log with one topic of one partition, whose segments are given by their base.
func log(t *testing.T, policy string, segments map[int64][]byte) (dir, part string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	part = PartitionDir(dir, Partition{"events", 0})
	if err := os.MkdirAll(part, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "meta.json"), `{"version":1,"cluster_id":"doorstep"}`)
	write(t, filepath.Join(dir, "topics.json"), fmt.Sprintf(`{"version":1,"topics":[{"name":"events","partitions":1,"configs":{"cleanup.policy":%q}}]}`, policy))
	write(t, filepath.Join(dir, "groups.log"), "")
	for base, raw := range segments {
		write(t, segmentFile(part, base), string(raw))
	}
	return dir, part
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMendPartition(t *testing.T) {
	wild := func(b []byte, at int, with byte) []byte { b = bytes.Clone(b); b[at] = with; return b }
	for name, tt := range map[string]struct {
		policy   string
		segments map[int64][]byte
		end      int64 // that is known
		want     []int64
		wantEnd  int64
		says     string // nothing is told where it is empty
	}{
		"whole": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), batch(5, 5, 'b')), 10: batch(10, 1, 'c')}, 11, []int64{0, 5, 10}, 11, ""},
		"cut in the middle of a batch": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), batch(5, 5, 'b')[:90])}, 5, []int64{0}, 5,
			"log/partitions/events-0/0.dat: cut 90 bytes at its end, of a write that was not finished and not acknowledged"},
		"cut, and known to have been longer": {"delete", map[int64][]byte{0: batch(0, 5, 'a')}, 9, []int64{0, 5}, 9, "events-0: 4 records are lost, offsets 5 to 8"},
		"zeros at the end": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), make([]byte, 500))}, 0, []int64{0}, 5,
			"cut 500 bytes of zeros at its end, as a power cut leaves them"},
		"garbage at the end": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), bytes.Repeat([]byte("junk"), 50))}, 0, []int64{0}, 5, "took out 200 damaged bytes at position 161"},
		"damaged in the middle": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), wild(batch(5, 2, 'b'), 99, 0), batch(7, 1, 'c'))}, 8, []int64{0, 5, 7}, 8,
			"events-0: 2 records are lost, offsets 5 to 6"},
		"a length is damaged": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), wild(batch(5, 2, 'b'), posLength+1, 9), batch(7, 1, 'c'))}, 8, []int64{0, 5, 7}, 8,
			"events-0: 2 records are lost, offsets 5 to 6"},
		"an offset is too high": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), wild(batch(5, 2, 'b'), 6, 1), batch(7, 1, 'c'))}, 8, []int64{0, 5, 7}, 8,
			"events-0: 2 records are lost, offsets 5 to 6"},
		"an offset is beyond the next segment": {"delete", map[int64][]byte{0: segment(batch(0, 5, 'a'), wild(batch(5, 2, 'b'), 6, 1)), 7: batch(7, 1, 'c')}, 8, []int64{0, 5, 7}, 8,
			"events-0: 2 records are lost, offsets 5 to 6"},
		"an epoch is damaged":     {"delete", map[int64][]byte{0: wild(batch(0, 5, 'a'), posEpoch, 9)}, 5, []int64{0}, 5, "a damaged epoch at offset 0 is mended"},
		"a segment is missing":    {"delete", map[int64][]byte{0: batch(0, 5, 'a'), 9: batch(9, 1, 'c')}, 10, []int64{0, 5, 9}, 10, "events-0: 4 records are lost, offsets 5 to 8"},
		"a gap by compaction":     {"compact", map[int64][]byte{0: segment(batch(0, 1, 'a'), batch(5, 1, 'b'))}, 6, []int64{0, 5}, 6, ""},
		"a hole in a compacted":   {"compact", map[int64][]byte{0: segment(batch(0, 1, 'a'), wild(batch(5, 1, 'b'), 99, 0), batch(9, 1, 'c'))}, 10, []int64{0, 1, 9}, 10, "events-0: up to 8 records are lost, offsets 1 to 8"},
		"trimmed away whole":      {"delete", nil, 500, []int64{499}, 500, ""},
		"trimmed, then not begun": {"delete", map[int64][]byte{500: nil}, 500, []int64{499}, 500, ""},
		"emptied by damage":       {"delete", map[int64][]byte{0: nil}, 500, []int64{499}, 500, "events-0: 500 records are lost, offsets 0 to 499"},
		"compacted, and gone":     {"compact", nil, 500, []int64{499}, 500, "events-0: up to 500 records are lost, offsets 0 to 499"},
		"an end beyond belief":    {"delete", map[int64][]byte{0: batch(0, 5, 'a')}, 1 << 60, []int64{0}, 5, "is not believed"},
		"an empty topic":          {"delete", nil, 0, nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, part := log(t, tt.policy, tt.segments)
			found, err := Mend(dir, Known{Ends: map[Partition]int64{{"events", 0}: tt.end}}, now)
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			of, err := ReadPartition(part)
			if err != nil {
				t.Fatal(err)
			}
			for _, seg := range of {
				batches, err := ReadBatches(part, seg.Base)
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range batches {
					got = append(got, b.First)
				}
			}
			end, err := End(part)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) || end != tt.wantEnd {
				t.Errorf("batches at %v, end %d, %v; want %v, %d", got, end, err, tt.want, tt.wantEnd)
			}
			var told []string
			for _, f := range found {
				if !strings.Contains(f.Text, ".idx") {
					told = append(told, f.Text)
				}
			}
			if text := strings.Join(told, "\n"); !strings.Contains(text, tt.says) || tt.says == "" && text != "" {
				t.Errorf("it says %q, want %q", text, tt.says)
			}
			again, err := Mend(dir, Known{Ends: map[Partition]int64{{"events", 0}: tt.end}}, now)
			if err != nil || len(again) > 0 && tt.end < widest {
				t.Errorf("mended again: %v, %v", again, err)
			}
		})
	}
}

// A reader's place that its journal has lost comes back from the note; a journal that is whole is left alone.
func TestPlacesComeBack(t *testing.T) {
	line := func(group string, offset int64) []byte {
		data, err := json.Marshal(map[string]any{"type": "commit", "g": group, "t": "events", "o": offset})
		if err != nil {
			t.Fatal(err)
		}
		return entry(data)
	}
	noted := []Place{{Group: "matcher", Topic: "events", Offset: 3}, {Group: "recorder", Topic: "events", Offset: 2}}
	cut := line("recorder", 5)[:20]
	for name, tt := range map[string]struct {
		journal []byte
		want    string
	}{
		"whole":           {segment(line("matcher", 1)), "matcher 1"},
		"damaged":         {segment(line("matcher", 4), cut), "matcher 4, recorder 2"},
		"in the middle":   {segment(line("matcher", 1), cut, line("recorder", 4)), "matcher 3, recorder 4"},
		"empty":           {nil, "matcher 3, recorder 2"},
		"nothing but bad": {bytes.Repeat([]byte{7}, 300), "matcher 3, recorder 2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := log(t, "delete", map[int64][]byte{0: batch(0, 5, 'a')})
			write(t, filepath.Join(dir, "groups.log"), string(tt.journal))
			if _, err := Mend(dir, Known{Places: noted}, now); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, "groups.log"))
			if err != nil {
				t.Fatal(err)
			}
			whole, lost := entries(raw)
			at := map[string]int64{}
			for _, p := range placesOf(whole) {
				at[p.Group] = p.Offset
			}
			var got []string
			for _, group := range []string{"matcher", "recorder"} {
				if offset, ok := at[group]; ok {
					got = append(got, fmt.Sprint(group, " ", offset))
				}
			}
			if text := strings.Join(got, ", "); text != tt.want || lost != 0 {
				t.Errorf("places %q, %d bad bytes; want %q", text, lost, tt.want)
			}
		})
	}
}

// Whatever is written over part of a segment: the batches that it does not touch are found, in order.
func TestScanFindsWhatIsNotTouched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var raw []byte
		var starts []int
		n := rapid.IntRange(1, 8).Draw(t, "batches")
		for i := range n {
			starts = append(starts, len(raw))
			raw = append(raw, batch(int64(i), 1, byte(i))...)
		}
		at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
		with := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "with")
		copy(raw[at:], with)
		batches, _ := scan(raw, 0)
		found, last := map[int]bool{}, int64(-1)
		for _, b := range batches {
			if b.First <= last {
				t.Fatalf("offset %d after %d", b.First, last)
			}
			last, found[int(b.at)] = b.Last, true
		}
		for i, start := range starts {
			end := start + len(raw)/n
			if (end <= at || start >= at+len(with)) && !found[start] {
				t.Errorf("batch %d, which is not touched, is not found: %v", i, batches)
			}
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add(segment(batch(0, 5, 'a'), batch(5, 5, 'b'), make([]byte, 20)))
	f.Add(segment(batch(0, 5, 'a'), []byte("junk"), mark(7, 9, now)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		batches, holes := scan(raw, 0)
		covered, least := int64(0), int64(0)
		for _, b := range batches {
			if b.First < least || b.Last < b.First {
				t.Fatalf("offsets %d to %d after %d", b.First, b.Last, least-1)
			}
			least = b.Last + 1
			covered += b.size
		}
		for _, h := range holes {
			covered += h.size
		}
		if covered != int64(len(raw)) {
			t.Errorf("%d of %d bytes are batches or holes", covered, len(raw))
		}
	})
}
