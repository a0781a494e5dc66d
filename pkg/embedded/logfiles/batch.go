package logfiles

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Batch is the head of one record batch in a segment file.
type Batch struct {
	First, Last int64
	Control     bool // a transaction's end mark, which no reader is given

	at, size      int64 // where it stands in its file
	transactional bool
	epoch         uint32
}

// Byte positions in a record batch (Kafka protocol, "Record Batch", magic 2). The checksum covers what
// follows it: offset, length, epoch and magic are not under it.
const (
	posLength     = 8
	posEpoch      = 12
	posMagic      = 16
	posCRC        = 17
	posAttributes = 21
	posLastDelta  = 23
	posFirstTime  = 27
	posMaxTime    = 35
	posProducer   = 43
	posRecords    = 57
	headSize      = 61
	lengthBefore  = 12 // bytes that the length field does not count

	magic            = 2
	controlBit       = 0x20
	transactionalBit = 0x10

	// widest is the widest gap between two batches that is believed; beyond it, an offset is damage.
	widest = 1 << 31
)

// batchAt reads the batch at the start of raw; false: there is none whose offsets are least or higher.
func batchAt(raw []byte, least int64) (Batch, bool) {
	if len(raw) < headSize || raw[posMagic] != magic {
		return Batch{}, false
	}
	size := int64(binary.BigEndian.Uint32(raw[posLength:])) + lengthBefore
	if size < headSize || size > int64(len(raw)) {
		return Batch{}, false
	}
	first := int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // offsets are int64 in the protocol
	if first < least || first-least > widest {
		return Batch{}, false
	}
	if checksum(raw[posAttributes:size]) != binary.BigEndian.Uint32(raw[posCRC:]) {
		return Batch{}, false
	}
	attributes := binary.BigEndian.Uint16(raw[posAttributes:])
	return Batch{
		First: first, Last: first + int64(binary.BigEndian.Uint32(raw[posLastDelta:])),
		Control: attributes&controlBit != 0, transactional: attributes&transactionalBit != 0,
		epoch: binary.BigEndian.Uint32(raw[posEpoch:]), size: size,
	}, true
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// hole is what lies between batches: bytes that are none.
type hole struct {
	at, size int64
	before   int // how many batches stand before it
	what     damage
}

// damage says how a hole came about, as far as it shows.
type damage int

const (
	damaged    damage = iota // something wrote over it
	unfinished               // the start of a batch, at the end of the file: its write was cut
	zeros                    // nothing but zeros up to the end, as a power cut leaves them
)

// scan finds the batches of a segment and the holes between them. Offsets grow from least on.
func scan(raw []byte, least int64) (batches []Batch, holes []hole) {
	for at := 0; at < len(raw); {
		if b, ok := batchAt(raw[at:], least); ok && !leapt(b, raw[at+int(b.size):], least) {
			b.at = int64(at)
			batches, least, at = append(batches, b), b.Last+1, at+int(b.size)
			continue
		}
		n := gap(raw[at:], least)
		h := hole{at: int64(at), size: int64(n), before: len(batches)}
		if at+n == len(raw) {
			h.what = ending(raw[at:], least)
		}
		holes, at = append(holes, h), at+n
	}
	return batches, holes
}

// leapt tells a batch whose offset is damaged, and too high: the batch after it does not follow.
func leapt(b Batch, rest []byte, least int64) bool {
	after, ok := batchAt(rest, least)
	return ok && after.First <= b.Last
}

// gap is how far the next batch is, or the end. The length of the damaged batch is believed first: what it
// holds was chosen by others and may look like a batch.
func gap(raw []byte, least int64) int {
	if len(raw) > posLength+4 {
		size := int(binary.BigEndian.Uint32(raw[posLength:])) + lengthBefore
		if size == len(raw) {
			return size
		}
		if size > 0 && size < len(raw) {
			if _, ok := batchAt(raw[size:], least); ok {
				return size
			}
		}
	}
	for n := 1; n+headSize <= len(raw); n++ {
		if _, ok := batchAt(raw[n:], least); ok {
			return n
		}
	}
	return len(raw)
}

// ending says what the last bytes of a file are.
func ending(raw []byte, least int64) damage {
	if len(raw) < headSize {
		return unfinished
	}
	if !slices.ContainsFunc(raw, func(b byte) bool { return b != 0 }) {
		return zeros
	}
	first := int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // offsets are int64 in the protocol
	if first == least && raw[posMagic] == magic && int64(binary.BigEndian.Uint32(raw[posLength:]))+lengthBefore > int64(len(raw)) {
		return unfinished
	}
	return damaged
}

// mark is a batch that readers pass over: the end mark of a transaction of nobody, standing at the offsets
// from first to last.
func mark(first, last int64, now time.Time) []byte {
	// One record, at the last offset, where whoever reads up to an end looks for it: attributes, time, offset
	// delta, key (version 0, commit), value (version 0, epoch 0), no headers.
	record := binary.AppendVarint([]byte{0, 0}, last-first)
	record = append(record, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 0, 0)
	record = append(binary.AppendVarint(nil, int64(len(record))), record...)
	b := make([]byte, headSize, headSize+len(record))
	binary.BigEndian.PutUint64(b, uint64(first))                                         //nolint:gosec // offsets are int64 in the protocol
	binary.BigEndian.PutUint32(b[posLength:], uint32(headSize+len(record)-lengthBefore)) //nolint:gosec // below 100
	b[posMagic] = magic
	binary.BigEndian.PutUint16(b[posAttributes:], controlBit|transactionalBit)
	binary.BigEndian.PutUint32(b[posLastDelta:], uint32(last-first)) //nolint:gosec // the caller keeps to 2^31
	// Now, since retention by time takes whatever stands before an old batch too.
	binary.BigEndian.PutUint64(b[posFirstTime:], uint64(now.UnixMilli())) //nolint:gosec // after 1970
	binary.BigEndian.PutUint64(b[posMaxTime:], uint64(now.UnixMilli()))   //nolint:gosec // after 1970
	for i := posProducer; i < posRecords; i++ {
		b[i] = 0xff // no producer, no epoch, no sequence
	}
	b[headSize-1] = 1 // record
	b = append(b, record...)
	binary.BigEndian.PutUint32(b[posCRC:], checksum(b[posAttributes:]))
	return b
}

// marks cover the offsets from first up to before end.
func marks(first, end int64, now time.Time) []byte {
	const most = 1 << 30 // offsets of one batch
	var b []byte
	for ; first < end; first += most {
		b = append(b, mark(first, min(end, first+most)-1, now)...)
	}
	return b
}

// ReadBatches reads the whole batches of a segment file, up to the first that is cut or damaged.
func ReadBatches(dir string, base int64) ([]Batch, error) {
	raw, err := os.ReadFile(segmentFile(dir, base))
	if err != nil {
		return nil, err
	}
	var batches []Batch
	for {
		b, ok := batchAt(raw, 0)
		if !ok {
			return batches, nil
		}
		batches, raw = append(batches, b), raw[b.size:]
	}
}

// End is the offset after the last whole batch of a partition's directory, 0 if it has none.
func End(dir string) (int64, error) {
	of, err := ReadPartition(dir)
	if err != nil {
		return 0, err
	}
	for _, seg := range slices.Backward(of) {
		batches, err := ReadBatches(dir, seg.Base)
		if err != nil {
			return 0, err
		}
		if n := len(batches); n > 0 {
			return batches[n-1].Last + 1, nil
		}
	}
	return 0, nil
}

func segmentFile(dir string, base int64) string {
	return filepath.Join(dir, strconv.FormatInt(base, 10)+".dat")
}

func indexFile(dir string, base int64) string {
	return filepath.Join(dir, strconv.FormatInt(base, 10)+".idx")
}
