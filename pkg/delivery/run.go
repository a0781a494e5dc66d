package delivery

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// FirstRunID is the run id of a delivery's first run. It is fixed, so that an event matched again
// after a crash gives the same record.
func FirstRunID(deliveryID string) string {
	return nameID(deliveryID, "first")
}

// NewRunID is the id of a run that is started at now, after the run of the id after, which may be empty or
// a first run's. It is a UUIDv7, and sorts behind after even if the clock that made that one is ahead: the
// latest of a delivery's runs is the one whose id is the greatest, and the history shows what became of it.
//
// This holds for what the caller knows: who starts runs gives the latest that it has read or made itself. Of
// two that are started by two processes which know nothing of each other, the later by their clocks counts.
func NewRunID(after string, now time.Time, random [8]byte) string {
	ticks := runTicks(now)
	if was, ok := ticksOf(after); ok {
		ticks = max(ticks, was+1)
	}
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], ticks>>12<<16|7<<12|ticks&0xfff)
	copy(id[8:], random[:])
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id.String()
}

// RunStartedAt is when a run other than a delivery's first was started, as its id says it.
func RunStartedAt(runID string) (time.Time, bool) {
	ticks, ok := ticksOf(runID)
	if !ok {
		return time.Time{}, false
	}
	sub := time.Duration(ticks&0xfff) * time.Millisecond >> 12
	return time.UnixMilli(int64(ticks >> 12)).Add(sub).UTC(), true //nolint:gosec // 48 bits
}

// runTicks are what a UUIDv7 says of a time: 1/4096 of milliseconds since 1970.
func runTicks(t time.Time) uint64 {
	sub := uint64(t.Nanosecond()) % uint64(time.Millisecond)            //nolint:gosec // not negative
	return uint64(t.UnixMilli())<<12 | sub<<12/uint64(time.Millisecond) //nolint:gosec // after 1970
}

func ticksOf(runID string) (uint64, bool) {
	id, err := uuid.Parse(runID)
	if err != nil || id.Version() != 7 {
		return 0, false
	}
	high := binary.BigEndian.Uint64(id[:8])
	return high>>16<<12 | high&0xfff, true
}

// Again is d as a new run of it is written to the log: the same event, webhook and bytes, due at once, with
// nothing left of where its last run came to.
func (d Delivery) Again(runID string, cause Cause) Delivery {
	d.RunID, d.Cause, d.Attempt = runID, cause, 1
	d.FirstPosition = Position{}
	d.TimesParked, d.PutOffs, d.PutOffSince, d.DueAt = 0, 0, time.Time{}, time.Time{}
	d.SuspendReason, d.SuspendedAt = "", time.Time{}
	return d
}
