package kafka

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever the order in which records finish and whenever the owner dies, a new owner is given
// exactly the records that were not finished at the last commit.
func TestTrackerHandsOverExactlyWhatIsNotFinished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		finished := map[int64]bool{}
		tr := newTracker(0, "")
		var open []int64
		next := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) {
				if tr.full() {
					return
				}
				for hole(next) {
					next++
				}
				if tr.start(next) == finished[next] {
					t.Fatalf("record %d: finished %v, but start said the same", next, finished[next])
				}
				if !finished[next] {
					open = append(open, next)
				}
				next++
			},
			"done": func(t *rapid.T) {
				if len(open) == 0 {
					return
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "i")
				tr.done(open[i])
				finished[open[i]] = true
				open = append(open[:i], open[i+1:]...)
			},
			"hand over": func(t *rapid.T) {
				offset, metadata := tr.commit()
				if len(metadata) > maxMetadata {
					t.Fatalf("metadata of %d bytes", len(metadata))
				}
				if len(open) > 0 && offset > minOf(open) {
					t.Fatalf("commit at %d is past the open record %d", offset, minOf(open))
				}
				tr, next, open = newTracker(offset, metadata), offset, nil
			},
		})
	})
}

// hole says which offsets hold no record, as compaction and transaction markers leave them.
func hole(offset int64) bool { return offset%7 == 3 || (offset >= 20 && offset < 220) }

func minOf(open []int64) int64 {
	least := open[0]
	for _, o := range open {
		least = min(least, o)
	}
	return least
}

func TestTrackerMetadataFitsWithAMillionFinishedBehindAStuckHead(t *testing.T) {
	tr := newTracker(0, "")
	for o := range int64(1_000_000) {
		if !tr.start(o) {
			t.Fatalf("record %d passed over", o)
		}
		if o%2000 != 0 { // 500 stuck ones, spread over all
			tr.done(o)
		}
	}
	offset, metadata := tr.commit()
	if offset != 0 || len(metadata) > maxMetadata {
		t.Fatalf("offset %d, %d bytes of metadata", offset, len(metadata))
	}
	again := 0
	tr = newTracker(offset, metadata)
	for o := range int64(1_000_000) {
		if tr.start(o) {
			again++
		}
	}
	if again != 500 {
		t.Errorf("%d records would be done again, want the 500 stuck ones", again)
	}
}

func FuzzDecodeSpans(f *testing.F) {
	f.Add(int64(7), encodeSpans(7, []span{{9, 12}, {20, 1_000_000}}))
	f.Add(int64(0), "d1:////")
	f.Fuzz(func(t *testing.T, base int64, metadata string) {
		if base < 0 || base > 1<<50 {
			return
		}
		last := base
		for _, s := range decodeSpans(base, metadata) {
			if s.from < last || s.to < s.from {
				t.Fatalf("spans out of order: %v after %d", s, last)
			}
			last = s.to
		}
	})
}
