package logfiles

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Partition names a partition of a topic.
type Partition struct {
	Topic string
	P     int32
}

// Segment is one file of a partition: the records from base up to the next segment's base.
type Segment struct {
	Base    int64
	Size    int64 // bytes of it and its index
	Written time.Time
}

// Segments are the files of every partition, by base offset.
type Segments map[Partition][]Segment

// Size is the bytes of all files.
func (s Segments) Size() int64 {
	var sum int64
	for _, of := range s {
		sum += SizeOf(of)
	}
	return sum
}

// SizeOf is the bytes of some files.
func SizeOf(of []Segment) int64 {
	var sum int64
	for _, seg := range of {
		sum += seg.Size
	}
	return sum
}

// PartitionDir is where kfake keeps a partition under its data directory.
func PartitionDir(log string, p Partition) string {
	return filepath.Join(log, "partitions", url.PathEscape(p.Topic)+"-"+strconv.Itoa(int(p.P)))
}

// partitionOf reads the name of a partition's directory.
func partitionOf(name string) (Partition, bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return Partition{}, false
	}
	topic, err := url.PathUnescape(name[:i])
	p, perr := strconv.ParseInt(name[i+1:], 10, 32)
	return Partition{topic, int32(p)}, err == nil && perr == nil
}

// Read lists the segment files of kfake's data directory. Files come and go meanwhile:
// what is gone is left out.
func Read(log string) (Segments, error) {
	dirs, err := os.ReadDir(filepath.Join(log, "partitions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := make(Segments, len(dirs))
	for _, d := range dirs {
		p, ok := partitionOf(d.Name())
		if !ok || !d.IsDir() {
			continue
		}
		of, err := ReadPartition(filepath.Join(log, "partitions", d.Name()))
		if err != nil {
			return nil, err
		}
		all[p] = of
	}
	return all, nil
}

// ReadPartition lists the segments of one directory. Index entries count to their segment.
func ReadPartition(dir string) ([]Segment, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	byBase := make(map[int64]*Segment)
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
			byBase[base] = &Segment{Base: base}
		}
		byBase[base].Size += info.Size()
		if ext == "dat" {
			byBase[base].Written = info.ModTime()
		}
	}
	of := make([]Segment, 0, len(byBase))
	for _, seg := range byBase {
		if !seg.Written.IsZero() {
			of = append(of, *seg)
		}
	}
	slices.SortFunc(of, func(a, b Segment) int { return int(a.Base - b.Base) })
	return of, nil
}
