package redisstate

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBreaker(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b, now := &breaker{}, start
	expect := func(what string, admit, probe bool) {
		t.Helper()
		if a, p := b.ask(now); a != admit || p != probe {
			t.Fatalf("%s: admit %t, probe %t; want %t, %t", what, a, p, admit, probe)
		}
	}
	expect("closed", true, false)
	b.fail(now)
	expect("away: the first probe follows at once", false, true)
	expect("one probe at a time", false, false)
	now = now.Add(time.Minute)
	expect("however long it takes", false, false)
	b.fail(now) // a call that was under way
	b.probed(now, false)
	expect("the probe failed", false, false)
	now = now.Add(probeEvery - 1)
	expect("not yet again", false, false)
	now = now.Add(1)
	expect("again", false, true)
	b.probed(now, true)
	expect("answered", true, false)
}

// Whatever happens, no call is made while it is away, and it comes back with the first probe that
// is answered.
func TestBreakerNeverAsksWhileAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, now, probing, away := &breaker{}, time.Unix(0, 0), false, false
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*probeEvery)).Draw(t, "wait")))
			},
			"ask": func(t *rapid.T) {
				admit, probe := b.ask(now)
				if admit == away || probe && (probing || admit) {
					t.Fatalf("away %t, probing %t: admit %t, probe %t", away, probing, admit, probe)
				}
				probing = probing || probe
			},
			"fail": func(*rapid.T) { b.fail(now); away = true },
			"answer": func(t *rapid.T) {
				if !probing {
					t.Skip("no probe is under way")
				}
				answered := rapid.Bool().Draw(t, "answered")
				b.probed(now, answered)
				probing, away = false, !answered
			},
		})
	})
}
