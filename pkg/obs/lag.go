package obs

import (
	"sync"
	"time"
)

// Lag is how far a reader of the log is behind it. It is safe for concurrent use.
type Lag struct {
	mu       sync.Mutex
	records  int64     // not finished, when last counted
	caughtUp time.Time // when they were last counted and there were none; at first the start
	oldest   time.Time // oldest record of the batch in hand, or of the last one
	inHand   bool
}

// NewLag is that of a reader that starts at now.
func NewLag(now time.Time) *Lag { return &Lag{caughtUp: now} }

// Counted notes how many records of the log were not finished at a time.
func (l *Lag) Counted(records int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = records
	if records == 0 {
		l.caughtUp = now
	}
}

// Took notes that a batch is in hand, whose oldest record came then.
func (l *Lag) Took(oldest time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.oldest, l.inHand = oldest, true
}

// Finished notes that it is done with.
func (l *Lag) Finished() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inHand = false
}

// Behind is how many records were not finished when last counted.
func (l *Lag) Behind() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records
}

// Age is that of the oldest record not finished. Of one that is not read yet the time is not known: it is no
// older than the last that were read, and came after there was none.
func (l *Lag) Age(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.inHand && l.records == 0 {
		return 0
	}
	oldest := l.oldest
	if !l.inHand && l.caughtUp.After(oldest) {
		oldest = l.caughtUp
	}
	return max(0, now.Sub(oldest))
}
