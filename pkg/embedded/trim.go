package embedded

import (
	"cmp"
	"slices"
	"time"
)

// Trimming begins above a share of the bound and goes on to a lower one: there is room for what
// comes in within the next second, and payloads stay readable as long as they can.
const (
	trimAboveNum, trimAboveDen = 3, 4
	trimToNum, trimToDen       = 5, 8
)

// trimmable is a segment whose records have all been read.
type trimmable struct {
	partition
	before  int64 // the offset up to which the partition goes with it
	size    int64
	written time.Time
}

// planTrim chooses the segments to delete so that excess bytes go: the oldest first, each
// partition from its start. floor says up to which offset a partition may go. It returns the
// offset to trim each partition to, and how many bytes that frees.
func planTrim(all segments, floor func(partition) int64, end map[partition]int64, excess int64) (map[partition]int64, int64) {
	var read []trimmable
	for p, of := range all {
		limit := floor(p)
		for i, seg := range of {
			before := end[p]
			if i+1 < len(of) {
				before = of[i+1].base
			}
			if before > limit || before <= seg.base {
				break
			}
			read = append(read, trimmable{p, before, seg.size, seg.written})
		}
	}
	slices.SortFunc(read, func(a, b trimmable) int {
		return cmp.Or(a.written.Compare(b.written), cmp.Compare(a.topic, b.topic), cmp.Compare(a.p, b.p), cmp.Compare(a.before, b.before))
	})
	plan := make(map[partition]int64)
	var freed int64
	for _, seg := range read {
		if freed >= excess {
			break
		}
		plan[seg.partition] = max(plan[seg.partition], seg.before)
		freed += seg.size
	}
	return plan, freed
}

// committed is what one group has committed: the offset of the next record it wants, by partition.
type committed map[partition]int64

// floorOf is up to which offset p may be trimmed. Every group that reads the topic must be past
// it; one that has not committed on this partition holds all of it. A topic that no group reads is
// held too: its reader is still to come.
func floorOf(p partition, end int64, groups map[string]committed) int64 {
	floor, readers := end, 0
	for _, of := range groups {
		if !of.reads(p.topic) {
			continue
		}
		readers++
		floor = min(floor, of[p])
	}
	if readers == 0 {
		return 0
	}
	return floor
}

// expect makes groups read topics that they may not have committed on yet.
func expect(groups map[string]committed, readers map[string][]string) {
	for group, topics := range readers {
		if groups[group] == nil {
			groups[group] = committed{}
		}
		for _, topic := range topics {
			groups[group][partition{topic, -1}] = 0 // which is no partition's place
		}
	}
}

func (c committed) reads(topic string) bool {
	for p := range c {
		if p.topic == topic {
			return true
		}
	}
	return false
}

// pastMarks moves a floor over the end marks of transactions that follow it: a reader commits the
// offset after its last record, and would never commit past a mark at the end.
func pastMarks(floor int64, batches []batch) int64 {
	for _, b := range batches {
		if b.first == floor && b.control {
			floor = b.last + 1
		}
	}
	return floor
}
