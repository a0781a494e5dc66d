package redisstate

import "time"

// probeEvery is how long a probe that failed keeps the next one waiting.
const probeEvery = 500 * time.Millisecond

// breaker decides whether to ask a server that may be away. It is away from the first call that
// was not answered until a probe is, so that only that call costs time. The zero value is closed:
// calls are made.
type breaker struct {
	away    bool
	probing bool
	probeAt time.Time // no probe before
}

// ask reports whether to make a call now, and if not, whether to send a probe, which must end in
// probed.
func (b *breaker) ask(now time.Time) (admit, probe bool) {
	if !b.away {
		return true, false
	}
	if b.probing || now.Before(b.probeAt) {
		return false, false
	}
	b.probing = true
	return false, true
}

// fail notes a call that was not answered. The first probe may follow at once: it may have been
// one connection only.
func (b *breaker) fail(now time.Time) {
	if !b.away {
		b.away, b.probeAt = true, now
	}
}

// probed notes what came of a probe.
func (b *breaker) probed(now time.Time, answered bool) {
	b.probing = false
	b.away = !answered
	b.probeAt = now.Add(probeEvery)
}
