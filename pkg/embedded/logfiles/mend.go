package logfiles

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Finding is what Mend found and did, in one line.
type Finding struct {
	Text string
	// Lost says that something is gone that had been acknowledged, or may have been.
	Lost bool
}

// Known is what is known of the log from elsewhere.
type Known struct {
	// Ends are the least offsets that partitions are known to have reached.
	Ends map[Partition]int64
	// Places are where readers were when that was last noted, for a journal of theirs that is damaged.
	Places []Place
	// Topics is a copy of topics.json, nil if there is none.
	Topics []byte
}

// Mend mends the log's files in the directory log so that the broker reads all that is still readable, and
// tells what it did. It errs, before the broker may start, where it cannot tell what belongs there. It may
// be cut short at any moment and made again.
func Mend(log string, known Known, now time.Time) ([]Finding, error) {
	m := &mender{log: log, known: known, now: now}
	err := m.mend()
	return m.found, err
}

type mender struct {
	log   string
	known Known
	now   time.Time
	found []Finding

	places []Place // of readers, in the journal as it is mended
}

func (m *mender) tell(lost bool, format string, args ...any) {
	m.found = append(m.found, Finding{Text: fmt.Sprintf(format, args...), Lost: lost})
}

func (m *mender) mend() error {
	all, err := Read(m.log)
	if err != nil {
		return err
	}
	topics, err := m.mendState(all)
	if err != nil || topics == nil {
		return err
	}
	if err := m.mendJournals(all.Size() > 0); err != nil {
		return err
	}
	ends := ends(m.known.Ends, m.places)
	for _, p := range topics.partitions() {
		if err := m.mendPartition(p, all[p], topics[p.Topic].compacted, ends[p]); err != nil {
			return err
		}
	}
	for p := range all {
		if t, ok := topics[p.Topic]; !ok || p.P >= t.partitions {
			m.tell(true, "%s belongs to no topic and is not read", m.short(PartitionDir(m.log, p)))
		}
	}
	return nil
}

// ends is how far each partition must reach: what is known, and where its readers are.
func ends(known map[Partition]int64, places []Place) map[Partition]int64 {
	ends := make(map[Partition]int64)
	maps.Copy(ends, known)
	for _, place := range places {
		p := Partition{place.Topic, place.Partition}
		ends[p] = max(ends[p], place.Offset)
	}
	return ends
}

// mendPartition mends the files of p, which are of, and makes it reach end, if it was read up to there.
func (m *mender) mendPartition(p Partition, of []Segment, compacted bool, end int64) error {
	next, has := int64(0), false
	if len(of) > 0 {
		next = of[0].Base
	}
	for i, seg := range of {
		until := int64(0) // the last segment has no end
		if i+1 < len(of) {
			until = of[i+1].Base
		}
		after, err := m.mendSegment(p, seg.Base, next, until, compacted)
		if err != nil {
			return err
		}
		has, next = has || after > max(next, seg.Base), max(after, seg.Base)
	}
	if end-next > widest {
		m.tell(false, "%s is said to reach offset %d, which is not believed: it ends at %d", name(p), end, next)
		end = next
	}
	var err error
	switch {
	case has && end > next:
		m.tellLost(p, next, end, compacted)
		last := of[len(of)-1].Base
		err = m.extend(PartitionDir(m.log, p), last, next, end)
	case !has && max(end, next) > 0:
		m.tellEmptied(p, len(of) > 0, next, end, compacted)
		err = m.restart(p, of, max(end, next))
	}
	if err != nil {
		return err
	}
	return m.checkSnapshot(PartitionDir(m.log, p), max(end, next))
}

// tellLost tells that the records from first to before end are gone.
func (m *mender) tellLost(p Partition, first, end int64, compacted bool) {
	upTo := ""
	if compacted {
		upTo = "up to "
	}
	m.tell(true, "%s: %s%d records are lost, offsets %d to %d", name(p), upTo, end-first, first, end-1)
}

// endMarks is how far before a partition's end a reader may stand that has read all of it: readers do not
// commit past the end marks of transactions.
const endMarks = 16

// tellEmptied tells what is gone of a partition without any record. Trimming and retention may have emptied
// it, which leaves no file, behind all of its readers.
func (m *mender) tellEmptied(p Partition, files bool, first, end int64, compacted bool) {
	if compacted || files {
		if end > first {
			m.tellLost(p, first, end, compacted)
		}
		return
	}
	place := end
	for _, of := range m.places {
		if of.Topic == p.Topic && of.Partition == p.P {
			place = min(place, of.Offset)
		}
	}
	if place < end-endMarks {
		m.tellLost(p, place, end, false)
	}
}

// extend appends marks from next up to before end to the segment at base.
func (m *mender) extend(dir string, base, next, end int64) error {
	raw, err := os.ReadFile(segmentFile(dir, base))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	raw = append(raw, marks(next, end, m.now)...)
	if err := replace(segmentFile(dir, base), raw); err != nil {
		return err
	}
	batches, _ := scan(raw, base)
	return m.writeIndex(indexFile(dir, base), batches)
}

// restart makes p, of whose files no record is left, go on at end.
func (m *mender) restart(p Partition, of []Segment, end int64) error {
	dir := PartitionDir(m.log, p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := m.extend(dir, end-1, end-1, end); err != nil {
		return err
	}
	for _, seg := range of {
		if seg.Base == end-1 {
			continue
		}
		if err := errors.Join(remove(segmentFile(dir, seg.Base)), remove(indexFile(dir, seg.Base))); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file, if it is there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mendSegment mends the segment of p at base, whose offsets begin at next or later, and end before until if
// that is not 0. It returns the offset after it.
func (m *mender) mendSegment(p Partition, base, next, until int64, compacted bool) (int64, error) {
	dir := PartitionDir(m.log, p)
	raw, err := os.ReadFile(segmentFile(dir, base))
	if err != nil {
		return 0, err
	}
	whole := raw
	batches, holes := scan(raw, max(next, base))
	if until > 0 {
		for len(batches) > 0 && batches[len(batches)-1].Last >= until {
			last := batches[len(batches)-1]
			batches = batches[:len(batches)-1]
			holes = append(holes, hole{at: last.at, size: last.size, before: len(batches)})
		}
	}
	for _, h := range holes {
		m.tellHole(segmentFile(dir, base), h)
	}
	out, next := m.join(p, raw, batches, holes, max(next, base), until, compacted)
	if !bytes.Equal(out, whole) {
		if err := replace(segmentFile(dir, base), out); err != nil {
			return 0, err
		}
		batches, _ = scan(out, 0)
	}
	return next, m.mendIndex(dir, base, batches)
}

// join puts batches one behind the other, with marks where records are missing.
func (m *mender) join(p Partition, raw []byte, batches []Batch, holes []hole, next, until int64, compacted bool) ([]byte, int64) {
	holed := make(map[int]bool)
	for _, h := range holes {
		holed[h.before] = true
	}
	out := make([]byte, 0, len(raw))
	fill := func(i int, to int64) {
		if to <= next || compacted && !holed[i] {
			return // nothing is missing, or it was compacted away
		}
		m.tellLost(p, next, to, compacted)
		out, next = append(out, marks(next, to, m.now)...), to
	}
	for i, b := range batches {
		fill(i, b.First)
		out = append(out, raw[b.at:b.at+b.size]...)
		if b.epoch != 0 { // this broker has but one; a reader would take another for a newer leader's
			binary.BigEndian.PutUint32(out[int64(len(out))-b.size+posEpoch:], 0)
			m.tell(false, "%s: a damaged epoch at offset %d is mended", name(p), b.First)
		}
		next = b.Last + 1
	}
	fill(len(batches), until)
	return out, next
}

func (m *mender) tellHole(file string, h hole) {
	switch h.what {
	case unfinished:
		m.tell(false, "%s: cut %d bytes at its end, of a write that was not finished and not acknowledged", m.short(file), h.size)
	case zeros:
		m.tell(true, "%s: cut %d bytes of zeros at its end, as a power cut leaves them; without DOORSTEP_LOG_SYNC what was acknowledged in the last seconds may be gone",
			m.short(file), h.size)
	case damaged:
		m.tell(true, "%s: took out %d damaged bytes at position %d", m.short(file), h.size, h.at)
	}
}

func name(p Partition) string { return p.Topic + "-" + strconv.Itoa(int(p.P)) }

// short is a file's path from the data directory on.
func (m *mender) short(file string) string {
	rel, err := filepath.Rel(filepath.Dir(m.log), file)
	if err != nil {
		return file
	}
	return rel
}

// replace replaces a file whole, so that a crash leaves the old content or the new.
func replace(path string, content []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
