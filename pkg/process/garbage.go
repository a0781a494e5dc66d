package process

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// garbage is how many bytes of garbage may gather before it is collected, at the least. Go collects when there is as
// much of it as of what lives, by default: of a service that lives on 10 MiB that is many times a second, and takes an
// eighth of its processor time. Where more than this lives, the default holds.
const garbage = 32 << 20

const (
	defaultPercent = 100
	percentStep    = 25      // smaller changes are left, as each stops the world for a moment
	leastLive      = 4 << 20 // what is taken to live at the least, as before the first collection
	garbageEvery   = time.Second
)

// TuneGC lets garbage gather as long as it takes little memory, until ctx ends; then Go's default holds again. It does
// nothing if GOGC is set. GOMEMLIMIT holds beside it. Run does it by itself.
func TuneGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	now := defaultPercent
	defer func() { debug.SetGCPercent(defaultPercent) }()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(garbageEvery)
	defer tick.Stop()
	for {
		metrics.Read(sample)
		if want := gcPercent(sample[0].Value.Uint64()); want != now {
			debug.SetGCPercent(want)
			now = want
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// gcPercent is the GOGC at which garbage gathers beside so many bytes that live.
func gcPercent(live uint64) int {
	percent := int(garbage * 100 / max(live, leastLive)) //nolint:gosec // at most 800
	return max(percent-percent%percentStep, defaultPercent)
}
