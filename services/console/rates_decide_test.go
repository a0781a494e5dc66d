package console

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

func TestAddressOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:4321":                "192.0.2.7",
		"[::ffff:192.0.2.7]:4321":       "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:4321":   "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1%eth0]:1": "2001:db8:1:2::/64",
		"@":                             "@",
	} {
		if got := addressOf(&http.Request{RemoteAddr: remote}); got != want {
			t.Errorf("%s is counted as %s, want %s", remote, got, want)
		}
	}
}

// TestLocalRatesAreBounded: any number of addresses take a bounded part of the memory, and those who wait are the last that
// are forgotten.
func TestLocalRatesAreBounded(t *testing.T) {
	r := &rates{full: map[string]time.Time{}}
	slow, quick := redisstate.Limit{Burst: 1, Every: time.Hour}, redisstate.Limit{Burst: 1, Every: 1}
	if !r.count(t.Context(), "guesser", slow).Allowed {
		t.Fatal("the first is refused")
	}
	for i := range 3 * maxLocalRates {
		r.count(t.Context(), strconv.Itoa(i), quick)
	}
	if len(r.full) > maxLocalRates || r.count(t.Context(), "guesser", slow).Allowed {
		t.Errorf("%d are counted", len(r.full))
	}
	for i := range 3 * maxLocalRates {
		r.count(t.Context(), strconv.Itoa(i), slow)
	}
	if len(r.full) > maxLocalRates {
		t.Errorf("%d are counted", len(r.full))
	}
}
