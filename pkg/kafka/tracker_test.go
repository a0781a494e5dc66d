package kafka

import (
	"fmt"
	"math/rand/v2"
	"slices"
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

// However far apart the records lie that are stuck, whatever finishes between them and whenever the owner changes:
// the metadata fits, and says all that is finished.
func TestTrackerForgetsNothingAcrossLargeGaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		magnitude := rapid.IntRange(0, 40).Draw(t, "magnitude of gaps")
		tr := newTracker(0, "")
		var open []int64
		next := int64(0)
		for range rapid.IntRange(1, 8).Draw(t, "phases") {
			spread := rapid.Bool().Draw(t, "spread")
			for range rapid.IntRange(0, maxOpen+100).Draw(t, "records") {
				if tr.full() {
					break
				}
				if spread { // as if so many had been read and finished
					next += chance.Int64N(1 << chance.IntN(magnitude+1))
				}
				if tr.start(next) {
					open = append(open, next)
				}
				next++
			}
			for range rapid.IntRange(0, len(open)).Draw(t, "done") {
				i := chance.IntN(len(open))
				tr.done(open[i])
				open = slices.Delete(open, i, i+1)
			}
			remembers(t, tr, open, next)
			if rapid.Bool().Draw(t, "hand over") {
				tr = taken(t, tr, open, next)
			}
		}
	})
}

// remembers checks that a commit fits and leaves out exactly what is open.
func remembers(t *rapid.T, tr *tracker, open []int64, next int64) {
	offset, metadata := tr.commit()
	if len(metadata) > maxMetadata {
		t.Fatalf("metadata of %d bytes", len(metadata))
	}
	at := offset // first offset that is not accounted for
	unfinished := []int64{}
	for _, s := range append(decodeSpans(offset, metadata), span{next, next}) {
		if s.from-at > maxOpen {
			t.Fatalf("%d records from %d are forgotten; %d open, %d bytes of metadata, %d by the tracker's count", s.from-at, at, len(open), len(metadata), tr.size)
		}
		for ; at < s.from; at++ {
			unfinished = append(unfinished, at)
		}
		at = s.to
	}
	if !slices.Equal(unfinished, open) && len(unfinished)+len(open) > 0 {
		t.Fatalf("%d records would be done again, %d are open", len(unfinished), len(open))
	}
}

// taken is a new owner's tracker that has read what the former one had open, as far as it may.
func taken(t *rapid.T, tr *tracker, open []int64, next int64) *tracker {
	fresh := newTracker(tr.commit())
	for _, o := range open {
		if fresh.full() {
			t.Fatalf("a new owner may not read what the former one did: %d of %d", len(fresh.open), len(open))
		}
		if !fresh.start(o) {
			t.Fatalf("record %d is open, and passed over", o)
		}
	}
	if next > fresh.next {
		fresh.start(next - 1)
		if len(fresh.open) > len(open) {
			t.Fatalf("record %d is finished, and started", next-1)
		}
	}
	return fresh
}

// A partition of which millions are finished between stuck ones stops reading before it would forget any.
func TestTrackerIsFullBeforeItForgets(t *testing.T) {
	tr := newTracker(0, "")
	for next := int64(0); !tr.full(); next += 1 << 34 {
		tr.start(next)
	}
	if n := len(tr.open); n >= maxOpen || n < 400 {
		t.Errorf("%d records are open when it is full", n)
	}
	for _, o := range slices.Clone(tr.open[1:]) {
		tr.done(o)
	}
	if tr.full() || !tr.spare() || tr.size > 8 {
		t.Errorf("full with one open: %d bytes", tr.size)
	}
}

func BenchmarkTracker(b *testing.B) {
	for _, open := range []int{10, maxOpen - 1} {
		b.Run(fmt.Sprintf("%d open", open), func(b *testing.B) {
			tr := newTracker(0, "")
			for range open {
				tr.start(tr.next)
			}
			i := 0
			for b.Loop() {
				i = (i + 613) % open
				tr.done(tr.open[i])
				tr.start(tr.next)
			}
		})
	}
}
