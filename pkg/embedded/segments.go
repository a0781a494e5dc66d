package embedded

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// partition names a partition of a topic.
type partition struct {
	topic string
	p     int32
}

// segment is one file of a partition: the records from base up to the next segment's base.
type segment struct {
	base    int64
	size    int64 // bytes of it and its index
	written time.Time
}

// segments are the files of every partition, by base offset.
type segments map[partition][]segment

func (s segments) size() int64 {
	var sum int64
	for _, of := range s {
		sum += sizeOf(of)
	}
	return sum
}

func sizeOf(of []segment) int64 {
	var sum int64
	for _, seg := range of {
		sum += seg.size
	}
	return sum
}

// partitionDir is where kfake keeps a partition under its data directory.
func partitionDir(log string, p partition) string {
	return filepath.Join(log, "partitions", url.PathEscape(p.topic)+"-"+strconv.Itoa(int(p.p)))
}

// partitionOf reads the name of a partition's directory.
func partitionOf(name string) (partition, bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return partition{}, false
	}
	topic, err := url.PathUnescape(name[:i])
	p, perr := strconv.ParseInt(name[i+1:], 10, 32)
	return partition{topic, int32(p)}, err == nil && perr == nil
}

// readSegments lists the segment files of kfake's data directory. Files come and go meanwhile:
// what is gone is left out.
func readSegments(log string) (segments, error) {
	dirs, err := os.ReadDir(filepath.Join(log, "partitions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := make(segments, len(dirs))
	for _, d := range dirs {
		p, ok := partitionOf(d.Name())
		if !ok || !d.IsDir() {
			continue
		}
		of, err := readPartition(filepath.Join(log, "partitions", d.Name()))
		if err != nil {
			return nil, err
		}
		all[p] = of
	}
	return all, nil
}

// readPartition lists the segments of one directory. Index entries count to their segment.
func readPartition(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	byBase := make(map[int64]*segment)
	for _, f := range files {
		name, ext, _ := strings.Cut(f.Name(), ".")
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil || (ext != "dat" && ext != "idx") {
			continue
		}
		info, err := f.Info()
		if err != nil {
			continue
		}
		if byBase[base] == nil {
			byBase[base] = &segment{base: base}
		}
		byBase[base].size += info.Size()
		if ext == "dat" {
			byBase[base].written = info.ModTime()
		}
	}
	of := make([]segment, 0, len(byBase))
	for _, seg := range byBase {
		if !seg.written.IsZero() {
			of = append(of, *seg)
		}
	}
	slices.SortFunc(of, func(a, b segment) int { return int(a.base - b.base) })
	return of, nil
}

// batch is the head of one record batch in a segment file.
type batch struct {
	first, last int64
	control     bool // a transaction's end mark, which no reader is given
}

// Byte positions in a record batch (Kafka protocol, "Record Batch", magic 2).
const (
	posLength     = 8
	posCRC        = 17
	posAttributes = 21
	posLastDelta  = 23
	headSize      = 61
	lengthBefore  = 12 // bytes that the length field does not count
	controlBit    = 0x20
)

// readBatches reads the whole batches of a segment file, up to the first that is cut or damaged.
func readBatches(dir string, base int64) ([]batch, error) {
	raw, err := os.ReadFile(filepath.Join(dir, strconv.FormatInt(base, 10)+".dat"))
	if err != nil {
		return nil, err
	}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	var batches []batch
	for len(raw) >= headSize {
		size := int64(binary.BigEndian.Uint32(raw[posLength:])) + lengthBefore
		if size < headSize || size > int64(len(raw)) {
			break
		}
		if crc32.Checksum(raw[posAttributes:size], castagnoli) != binary.BigEndian.Uint32(raw[posCRC:]) {
			break
		}
		first := int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // offsets are int64 in the protocol
		batches = append(batches, batch{
			first:   first,
			last:    first + int64(binary.BigEndian.Uint32(raw[posLastDelta:])),
			control: binary.BigEndian.Uint16(raw[posAttributes:])&controlBit != 0,
		})
		raw = raw[size:]
	}
	return batches, nil
}

// endOffset is the offset after the last whole batch of a partition's directory, 0 if it has none.
func endOffset(dir string) (int64, error) {
	of, err := readPartition(dir)
	if err != nil {
		return 0, err
	}
	for _, seg := range slices.Backward(of) {
		batches, err := readBatches(dir, seg.base)
		if err != nil {
			return 0, err
		}
		if n := len(batches); n > 0 {
			return batches[n-1].last + 1, nil
		}
	}
	return 0, nil
}
