package testkit

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Eventually asks check again and again until it returns nil, and fails the test with what it
// last returned when the deadline has passed. Between two questions it waits a hundredth of the
// deadline, from 1 to 50 ms.
func Eventually(t testing.TB, deadline time.Duration, check func() error) {
	t.Helper()
	pause := min(max(deadline/100, time.Millisecond), 50*time.Millisecond)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	end := time.After(deadline)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %s: %v", deadline, err)
		}
	}
}

// Random is a source of chance whose seed is TEST_SEED, else a new one; the test's log tells it.
func Random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("TEST_SEED: %v", err)
		}
	}
	t.Logf("chance: TEST_SEED=%d repeats it", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
