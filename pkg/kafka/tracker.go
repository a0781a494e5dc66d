package kafka

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// maxOpen bounds the records of one partition that are read and not finished. It keeps the commit
// metadata under Kafka's 4,096 bytes: at most one byte for each and two for the gap behind it, in base64.
const maxOpen = 1000

// metadataVersion leads the commit metadata; another reader's is ignored.
const metadataVersion = "d1:"

// tracker knows which records of one partition are finished, so that the committed offset stands
// before the first that is not, and what is finished behind it is remembered in the commit metadata.
type tracker struct {
	open  []int64 // read and not finished, ascending
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
	t.next = offset + 1
	t.dirty = true
	for len(t.ahead) > 0 && t.ahead[0].to <= offset {
		t.ahead = t.ahead[1:]
	}
	if len(t.ahead) > 0 && t.ahead[0].from <= offset {
		return false
	}
	t.open = append(t.open, offset)
	return true
}

// done notes that a record is finished.
func (t *tracker) done(offset int64) {
	if i, ok := slices.BinarySearch(t.open, offset); ok {
		t.open = slices.Delete(t.open, i, i+1)
		t.dirty = true
	}
}

// full reports whether no more may be read until something finishes.
func (t *tracker) full() bool { return len(t.open) >= maxOpen }

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

// maxMetadata is Kafka's default offset.metadata.max.bytes.
const maxMetadata = 4096

// encodeSpans writes runs of finished offsets behind base as pairs of lengths: how many are not
// finished, how many are. What would not fit is left out, and would be done again after a crash.
func encodeSpans(base int64, spans []span) string {
	if len(spans) == 0 {
		return ""
	}
	limit := base64.RawStdEncoding.DecodedLen(maxMetadata - len(metadataVersion))
	var b []byte
	for _, s := range spans {
		next := binary.AppendUvarint(b, uint64(s.from-base))   //nolint:gosec // spans lie behind base
		next = binary.AppendUvarint(next, uint64(s.to-s.from)) //nolint:gosec // a span has a length
		if len(next) > limit {
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
		if m <= 0 || gap > 1<<40 || length > 1<<40 {
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
