package kafka

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strings"
)

// maxOpen bounds the records of one partition that are read and not finished. The commit metadata takes at most one byte
// for each and two for up to 16,383 finished ones behind it, so it stays under Kafka's 4,096 bytes; tracker.size sees to
// the rest, where millions are finished between those that are stuck.
const maxOpen = 1000

// metadataVersion leads the commit metadata; another reader's is ignored.
const metadataVersion = "d1:"

// tracker knows which records of one partition are finished, so that the committed offset stands
// before the first that is not, and what is finished behind it is remembered in the commit metadata.
type tracker struct {
	open  []int64 // read and not finished, ascending
	size  int     // bytes of metadata that these take at the most, now and as they finish: see cost
	next  int64   // first offset not read
	ahead []span  // finished by the partition's former owner, at or behind next
	dirty bool    // something finished since the last commit
}

// span is a run of offsets, from inclusive, to exclusive.
type span struct{ from, to int64 }

// newTracker goes on from a commit.
func newTracker(committed int64, metadata string) *tracker {
	return &tracker{next: committed, ahead: decodeSpans(committed, metadata)}
}

// start notes a record that was read; false: it is finished already and must be passed over.
func (t *tracker) start(offset int64) bool {
	t.dirty = true
	for len(t.ahead) > 0 && t.ahead[0].to <= offset {
		t.ahead = t.ahead[1:]
	}
	fresh := len(t.ahead) == 0 || t.ahead[0].from > offset
	last := len(t.open) - 1
	t.size -= t.cost(last)
	t.next = offset + 1
	if fresh {
		t.open = append(t.open, offset)
		t.size += t.cost(last + 1)
	}
	t.size += t.cost(last)
	return fresh
}

// cost is what the i-th open record and the finished run behind it take in the metadata at the most: a byte, and those
// of the run's length. When a record finishes, its run joins the one before, which never costs more than both did.
func (t *tracker) cost(i int) int {
	if i < 0 {
		return 0
	}
	end := t.next
	if i+1 < len(t.open) {
		end = t.open[i+1]
	}
	return 1 + uvarintLen(end-t.open[i]-1)
}

// uvarintLen is the length of n as a uvarint, and 0 for 0.
func uvarintLen(n int64) int { return (bits.Len64(uint64(n)) + 6) / 7 } //nolint:gosec // a length

// done notes that a record is finished.
func (t *tracker) done(offset int64) {
	if i, ok := slices.BinarySearch(t.open, offset); ok {
		t.size -= t.cost(i-1) + t.cost(i)
		t.open = slices.Delete(t.open, i, i+1)
		t.size += t.cost(i - 1)
		t.dirty = true
	}
}

// finishedBefore reports whether a record not started yet is known to be finished.
func (t *tracker) finishedBefore(offset int64) bool {
	i, _ := slices.BinarySearchFunc(t.ahead, offset, func(s span, o int64) int {
		return cmp.Compare(s.to, o+1) // the first that ends behind it
	})
	return i < len(t.ahead) && t.ahead[i].from <= offset
}

// full reports whether no more may be read until something finishes.
func (t *tracker) full() bool { return t.over(maxOpen, metadataLimit-slack) }

// spare reports whether there is room for a good number.
func (t *tracker) spare() bool { return !t.over(maxOpen*3/4, (metadataLimit-slack)*3/4) }

// over reports whether so many are open, or take so many bytes to remember. What a former owner had in hand fits as it
// did, so only what lies behind that counts.
func (t *tracker) over(open, bytes int) bool {
	return len(t.open) >= open || len(t.ahead) == 0 && t.size >= bytes
}

// commit returns what to commit: the offset of the first record that is not finished, and the
// finished runs behind it.
func (t *tracker) commit() (offset int64, metadata string) {
	t.dirty = false
	offset = t.next
	if len(t.open) > 0 {
		offset = t.open[0]
	}
	return offset, encodeSpans(offset, t.finished())
}

// finished returns the finished runs behind the first record that is not.
func (t *tracker) finished() []span {
	var out []span
	add := func(s span) {
		if n := len(out); n > 0 && out[n-1].to >= s.from {
			out[n-1].to = s.to
		} else if s.from < s.to {
			out = append(out, s)
		}
	}
	if len(t.open) > 0 {
		for i, o := range t.open[1:] {
			add(span{t.open[i] + 1, o})
		}
		add(span{t.open[len(t.open)-1] + 1, t.next})
	}
	for _, s := range t.ahead {
		if s.from = max(s.from, t.next); s.from < s.to {
			add(s)
		}
	}
	return out
}

const (
	// maxMetadata is Kafka's default offset.metadata.max.bytes.
	maxMetadata = 4096
	// metadataLimit is how many bytes fit into it in base64.
	metadataLimit = (maxMetadata - len(metadataVersion)) / 4 * 3
	// slack is more than a record that is read can add to the metadata: itself and a longer run before it.
	slack = 32
	// maxRun bounds what is believed of a length; no partition has as many records.
	maxRun = 1 << 50
)

// encodeSpans writes runs of finished offsets behind base as pairs of lengths: how many are not
// finished, how many are. What would not fit is left out, and would be done again after a crash.
func encodeSpans(base int64, spans []span) string {
	if len(spans) == 0 {
		return ""
	}
	var b []byte
	for _, s := range spans {
		next := binary.AppendUvarint(b, uint64(s.from-base))   //nolint:gosec // spans lie behind base
		next = binary.AppendUvarint(next, uint64(s.to-s.from)) //nolint:gosec // a span has a length
		if len(next) > metadataLimit {
			break
		}
		b, base = next, s.to
	}
	return metadataVersion + base64.RawStdEncoding.EncodeToString(b)
}

// FinishedBehind are the offsets behind a committed one that the commit's metadata says are finished too,
// ascending: what Lanes commits, for those who look at a group from outside.
func FinishedBehind(committed int64, metadata string) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for _, s := range decodeSpans(committed, metadata) {
			for o := s.from; o < s.to; o++ {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// decodeSpans reads what encodeSpans wrote. Metadata of others, or damaged, means that nothing behind base is finished.
func decodeSpans(base int64, metadata string) []span {
	text, ours := strings.CutPrefix(metadata, metadataVersion)
	if !ours {
		return nil
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	var spans []span
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		if n <= 0 {
			return nil
		}
		length, m := binary.Uvarint(b[n:])
		if m <= 0 || gap > maxRun || length > maxRun {
			return nil
		}
		from := base + int64(gap)   //nolint:gosec // bounded above
		base = from + int64(length) //nolint:gosec // bounded above
		spans = append(spans, span{from, base})
		b = b[n+m:]
	}
	return spans
}

func (s span) String() string { return fmt.Sprintf("[%d,%d)", s.from, s.to) }
