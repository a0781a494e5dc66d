package console_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestConsolesLimitTogether: what a key may do it may do once, whichever console it asks, and is told so.
func TestConsolesLimitTogether(t *testing.T) {
	t.Parallel()
	prefix := testkit.Prefix(t)
	cfg := config(t, ownLog(t), sqldbtest.Any(t))
	cfg.RateLimit, cfg.RateBurst = 1, 5
	cfg.Redis = redisstate.Config{URL: testkit.Redis(t), Prefix: prefix}
	one := start(t, cfg)
	one.awaitReady()
	other := start(t, cfg)
	other.awaitReady()
	// A machine that stands still makes consoles count by themselves: then it is tried again, with another key.
	for _, key := range []string{bootKey, one.key(`{"name":"a","scopes":["events"]}`).Key, one.key(`{"name":"b","scopes":["events"]}`).Key} {
		before := one.counted("doorstep_console_rate_limits_local_total") + other.counted("doorstep_console_rate_limits_local_total")
		spent := 0
		if key == bootKey {
			spent = 2
		}
		var answers []answer
		for i := range 7 - spent {
			answers = append(answers, []*running{one, other}[i%2].as(key, "GET", "/api/v1/me", ""))
		}
		if one.counted("doorstep_console_rate_limits_local_total")+other.counted("doorstep_console_rate_limits_local_total") > before {
			continue
		}
		for i, a := range answers {
			checkLimited(t, a, spent+i)
		}
		return
	}
	t.Skip("Redis does not answer within 50 ms on this machine")
}

// counted is what a counter of the console says.
func (c *running) counted(name string) float64 {
	c.t.Helper()
	families, err := c.metrics.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// checkLimited checks the answer to the request after so many others, of 5 that there may be.
func checkLimited(t *testing.T, a answer, before int) {
	t.Helper()
	left := `"key";r=` + strconv.Itoa(max(0, 4-before)) + ";t="
	if a.header.Get("RateLimit-Policy") != `"key";q=5;w=300` || !strings.HasPrefix(a.header.Get("RateLimit"), left) {
		t.Errorf("request %d: RateLimit-Policy %s, RateLimit %s", before, a.header.Get("RateLimit-Policy"), a.header.Get("RateLimit"))
	}
	wait, _ := strconv.Atoi(a.header.Get("Retry-After"))
	if want := before >= 5; want != (a.status == http.StatusTooManyRequests) || want != (wait > 0 && wait <= 60) || want && a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("request %d: %d, Retry-After %d: %s", before, a.status, wait, a.text)
	}
}

// TestLimitsWithoutRedis: a console counts by itself, at once, and says so.
func TestLimitsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	cfg := config(t, ownLog(t), sqldbtest.Any(t))
	cfg.RateLimit, cfg.RateBurst = 1, 8
	cfg.Redis = redisstate.Config{URL: "redis://" + server.Addr(), Prefix: "t:"}
	c := start(t, cfg)
	c.awaitReady()
	server.Close()
	statuses := map[int]int{}
	for range 20 {
		statuses[c.as(bootKey, "GET", "/api/v1/me", "").status]++
	}
	if statuses[200] != 8 || statuses[429] != 12 {
		t.Errorf("%v", statuses)
	}
	if local, refused := c.counted("doorstep_console_rate_limits_local_total"), c.counted("doorstep_console_rate_limited_total"); local != 20 || refused != 12 {
		t.Errorf("%g counted here, %g refused", local, refused)
	}
	// miniredis that comes back is asked again.
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := c.as(bootKey, "GET", "/api/v1/me", ""); a.status != 200 && len(server.Keys()) == 0 {
			return http.ErrNotSupported
		}
		return nil
	})
}

// TestGuessersAreLimited: who shows wrong keys is kept out, and nobody else.
func TestGuessersAreLimited(t *testing.T) {
	t.Parallel()
	cfg := config(t, ownLog(t), sqldbtest.Any(t))
	cfg.RateLimit, cfg.RateBurst = 6000, 600
	c := start(t, cfg)
	c.awaitReady()
	statuses := map[int]int{}
	for i := range 80 {
		a := c.as([]string{"", "dsk_wrong"}[i%2], "GET", "/api/v1/webhooks", "")
		statuses[a.status]++
		if a.header.Get("RateLimit-Policy") != `"address";q=60;w=60` {
			t.Errorf("RateLimit-Policy %s", a.header.Get("RateLimit-Policy"))
		}
	}
	if statuses[401] < 60 || statuses[429] == 0 || statuses[401]+statuses[429] != 80 {
		t.Errorf("%v", statuses)
	}
	c.do(200, "GET", "/api/v1/webhooks", "")
	cfg.RateLimit, cfg.HTTP = 0, "127.0.0.1:0"
	unlimited := start(t, cfg)
	unlimited.awaitReady()
	if a := unlimited.do(200, "GET", "/api/v1/me", ""); a.header.Get("RateLimit") != "" || a.header.Get("RateLimit-Policy") != "" {
		t.Errorf("no limit is told as %v", a.header)
	}
}
