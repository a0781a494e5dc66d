package embedded

import (
	"cmp"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

// Trimming begins above a share of the bound and goes on to a lower one: there is room for what
// comes in within the next second, and payloads stay readable as long as they can.
const (
	trimAboveNum, trimAboveDen = 3, 4
	trimToNum, trimToDen       = 5, 8
)

// trimmable is a segment whose records have all been read.
type trimmable struct {
	logfiles.Partition
	before  int64 // the offset up to which the partition goes with it
	size    int64
	written time.Time
}

// planTrim chooses the segments to delete so that excess bytes go: the oldest first, each
// partition from its start. floor says up to which offset a partition may go. It returns the
// offset to trim each partition to, and how many bytes that frees.
func planTrim(all logfiles.Segments, floor func(logfiles.Partition) int64, end map[logfiles.Partition]int64, excess int64) (map[logfiles.Partition]int64, int64) {
	var read []trimmable
	for p, of := range all {
		limit := floor(p)
		for i, seg := range of {
			before := end[p]
			if i+1 < len(of) {
				before = of[i+1].Base
			}
			if before > limit || before <= seg.Base {
				break
			}
			read = append(read, trimmable{p, before, seg.Size, seg.Written})
		}
	}
	slices.SortFunc(read, func(a, b trimmable) int {
		return cmp.Or(a.written.Compare(b.written), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.P, b.P), cmp.Compare(a.before, b.before))
	})
	plan := make(map[logfiles.Partition]int64)
	var freed int64
	for _, seg := range read {
		if freed >= excess {
			break
		}
		plan[seg.Partition] = max(plan[seg.Partition], seg.before)
		freed += seg.size
	}
	return plan, freed
}

// committed is what one group has committed: the offset of the next record it wants, by partition.
type committed map[logfiles.Partition]int64

// floorOf is up to which offset p may be trimmed. Every group that reads the topic must be past
// it; one that has not committed on this partition holds all of it. A topic that no group reads is
// held too: its reader is still to come.
func floorOf(p logfiles.Partition, end int64, groups map[string]committed) int64 {
	floor, readers := end, 0
	for _, of := range groups {
		if !of.reads(p.Topic) {
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
			groups[group][logfiles.Partition{Topic: topic, P: -1}] = 0 // which is no partition's place
		}
	}
}

func (c committed) reads(topic string) bool {
	for p := range c {
		if p.Topic == topic {
			return true
		}
	}
	return false
}

// pastMarks moves a floor over the end marks of transactions that follow it: a reader commits the
// offset after its last record, and would never commit past a mark at the end.
func pastMarks(floor int64, batches []logfiles.Batch) int64 {
	for _, b := range batches {
		if b.First == floor && b.Control {
			floor = b.Last + 1
		}
	}
	return floor
}
