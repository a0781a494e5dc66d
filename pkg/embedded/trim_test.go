package embedded

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(base, size int64, minute int) logfiles.Segment {
	return logfiles.Segment{Base: base, Size: size, Written: start.Add(time.Duration(minute) * time.Minute)}
}

func TestPlanTrim(t *testing.T) {
	events, attempts := logfiles.Partition{Topic: "events", P: 0}, logfiles.Partition{Topic: "attempts", P: 0}
	all := logfiles.Segments{
		events:   {at(0, 10, 1), at(100, 10, 4), at(200, 10, 5)},
		attempts: {at(0, 20, 2), at(50, 20, 3)},
	}
	end := map[logfiles.Partition]int64{events: 250, attempts: 60}
	for name, tt := range map[string]struct {
		floor  map[logfiles.Partition]int64
		excess int64
		want   map[logfiles.Partition]int64
		freed  int64
	}{
		"oldest first, across topics":       {map[logfiles.Partition]int64{events: 250, attempts: 60}, 25, map[logfiles.Partition]int64{events: 100, attempts: 50}, 30},
		"no more than is needed":            {map[logfiles.Partition]int64{events: 250, attempts: 60}, 10, map[logfiles.Partition]int64{events: 100}, 10},
		"never past a floor in a segment":   {map[logfiles.Partition]int64{events: 199, attempts: 0}, 99, map[logfiles.Partition]int64{events: 100}, 10},
		"to a floor at a segment's end":     {map[logfiles.Partition]int64{events: 200, attempts: 0}, 99, map[logfiles.Partition]int64{events: 200}, 20},
		"the open segment when all is read": {map[logfiles.Partition]int64{events: 250, attempts: 60}, 99, end, 70},
		"nothing has been read":             {map[logfiles.Partition]int64{}, 99, map[logfiles.Partition]int64{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			plan, freed := planTrim(all, func(p logfiles.Partition) int64 { return tt.floor[p] }, end, tt.excess)
			if diff := cmp.Diff(tt.want, plan, cmp.AllowUnexported(logfiles.Partition{})); diff != "" || freed != tt.freed {
				t.Errorf("freed %d, want %d; plan: %s", freed, tt.freed, diff)
			}
		})
	}
}

func TestFloorOf(t *testing.T) {
	p0, p1, other := logfiles.Partition{Topic: "deliveries", P: 0}, logfiles.Partition{Topic: "deliveries", P: 1}, logfiles.Partition{Topic: "events", P: 0}
	for name, tt := range map[string]struct {
		groups  map[string]committed
		readers map[string][]string
		want    int64
	}{
		"one reader":                     {map[string]committed{"sender": {p0: 70}}, nil, 70},
		"the slowest reader":             {map[string]committed{"sender": {p0: 70}, "recorder": {p0: 30}}, nil, 30},
		"a reader of other topics":       {map[string]committed{"sender": {p0: 70}, "matcher": {other: 5}}, nil, 70},
		"a reader that is elsewhere yet": {map[string]committed{"sender": {p1: 70}}, nil, 0},
		"no reader":                      {map[string]committed{}, nil, 0},
		"a reader is expected":           {map[string]committed{"sender": {p0: 70}}, map[string][]string{"recorder": {"deliveries"}}, 0},
		"an expected one has come":       {map[string]committed{"sender": {p0: 70}, "recorder": {p0: 30}}, map[string][]string{"recorder": {"deliveries"}}, 30},
		"one is expected elsewhere":      {map[string]committed{"sender": {p0: 70}}, map[string][]string{"recorder": {"events"}}, 70},
	} {
		expect(tt.groups, tt.readers)
		if got := floorOf(p0, 100, tt.groups); got != tt.want {
			t.Errorf("%s: floor %d, want %d", name, got, tt.want)
		}
	}
}

// Whatever the log looks like, what a plan trims lies behind the floor and ends with a segment.
func TestPlanTrimNeverPassesTheFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, floor, end := make(logfiles.Segments), make(map[logfiles.Partition]int64), make(map[logfiles.Partition]int64)
		for p := range int32(rapid.IntRange(1, 4).Draw(t, "partitions")) {
			part, base := logfiles.Partition{Topic: "t", P: p}, int64(0)
			for range rapid.IntRange(0, 5).Draw(t, "segments") {
				all[part] = append(all[part], at(base, rapid.Int64Range(1, 9).Draw(t, "size"), rapid.IntRange(0, 9).Draw(t, "minute")))
				base += rapid.Int64Range(1, 9).Draw(t, "records")
			}
			end[part] = base
			floor[part] = rapid.Int64Range(0, base).Draw(t, "floor")
		}
		plan, _ := planTrim(all, func(p logfiles.Partition) int64 { return floor[p] }, end, rapid.Int64Range(1, 99).Draw(t, "excess"))
		for p, before := range plan {
			whole := before == end[p]
			for _, seg := range all[p] {
				whole = whole || seg.Base == before
			}
			if before > floor[p] || !whole {
				t.Fatalf("partition %d is trimmed to %d, floor %d, segments %v", p.P, before, floor[p], all[p])
			}
		}
	})
}

func TestPastMarks(t *testing.T) {
	data := func(first, last int64) logfiles.Batch { return logfiles.Batch{First: first, Last: last} }
	mark := func(at int64) logfiles.Batch { return logfiles.Batch{First: at, Last: at, Control: true} }
	for name, tt := range map[string]struct {
		floor   int64
		batches []logfiles.Batch
		want    int64
	}{
		"over the mark behind it":     {10, []logfiles.Batch{data(0, 9), mark(10)}, 11},
		"over two":                    {10, []logfiles.Batch{data(0, 9), mark(10), mark(11)}, 12},
		"not over records":            {10, []logfiles.Batch{data(0, 9), mark(10), data(11, 11), mark(12)}, 11},
		"not when records come first": {5, []logfiles.Batch{data(0, 9), mark(10)}, 5},
		"nothing behind it":           {11, []logfiles.Batch{data(0, 9), mark(10)}, 11},
	} {
		if got := pastMarks(tt.floor, tt.batches); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
