package console

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

const (
	// rateTime is what a request waits for Redis at most; while Redis is away nobody waits (redisstate.Client).
	rateTime = 50 * time.Millisecond
	// Failed authentications of one address: an IPv4 address, or the 64 bits of an IPv6 one that name a network.
	failuresPerMinute = 60
	failuresAtOnce    = 60
	// maxLocalRates is how many keys and addresses are counted here; beyond them those that are full again are forgotten,
	// and if all are in use, all.
	maxLocalRates = 10_000
)

// What is limited, as metrics and RateLimit headers name it.
const (
	limitKey     = "key"
	limitAddress = "address"
)

// rates limits how many requests a key may make, and how many an address may that nobody is let in for. Redis counts for all
// consoles together; while it does not answer each console counts by itself, so that as many times more may pass as
// there are consoles, and no request fails or waits.
type rates struct {
	key, address redisstate.Limit
	redis        *redisstate.Client // nil: each console counts by itself
	refused      *prometheus.CounterVec
	local        prometheus.Counter

	mu   sync.Mutex
	full map[string]time.Time // by name, as redisstate.Limit.Spend has it
}

// newRates makes the limits that the settings name; nil: there are none.
func newRates(cfg Config) (*rates, error) {
	if cfg.RateLimit == 0 {
		return nil, nil //nolint:nilnil // no limits are no limits
	}
	r := &rates{
		key:     redisstate.Limit{Burst: cfg.RateBurst, Every: time.Minute / time.Duration(cfg.RateLimit)},
		address: redisstate.Limit{Burst: failuresAtOnce, Every: time.Minute / failuresPerMinute},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "doorstep_console_rate_limited_total", Help: "Requests that were refused because there were too many, by what was limited (key, address).",
		}, []string{"by"}),
		local: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "doorstep_console_rate_limits_local_total", Help: "Requests that this console counted by itself, since Redis did not answer.",
		}),
		full: map[string]time.Time{},
	}
	if cfg.Redis.URL == "" {
		return r, nil
	}
	cfg.Redis.Timeout = min(cfg.Redis.Timeout, rateTime)
	if cfg.Redis.Timeout <= 0 {
		cfg.Redis.Timeout = rateTime
	}
	var err error
	r.redis, err = redisstate.Connect(cfg.Redis)
	return r, err
}

func (r *rates) metrics() []prometheus.Collector {
	if r == nil {
		return nil
	}
	return []prometheus.Collector{r.refused, r.local}
}

func (r *rates) close() {
	if r != nil && r.redis != nil {
		_ = r.redis.Close() // nothing is lost with it
	}
}

// spend counts one request of name, tells the caller's headers how many are left, and errs with a 429 if there are none.
func (r *rates) spend(ctx context.Context, by, name string, header http.Header) error {
	if r == nil {
		return nil
	}
	limit := r.key
	if by == limitAddress {
		limit = r.address
	}
	s := r.count(ctx, by+":"+name, limit)
	header.Set("RateLimit-Policy", fmt.Sprintf(`"%s";q=%d;w=%d`, by, limit.Burst, seconds(time.Duration(limit.Burst)*limit.Every)))
	header.Set("RateLimit", fmt.Sprintf(`"%s";r=%d;t=%d`, by, s.Remaining, seconds(s.Reset)))
	if s.Allowed {
		return nil
	}
	r.refused.WithLabelValues(by).Inc()
	p := newProblem(http.StatusTooManyRequests, fmt.Sprintf("too many requests of this API key: %d at once, and one more each %s; wait as Retry-After says", limit.Burst, limit.Every))
	if by == limitAddress {
		p.Detail = "too many requests from this address without a valid API key; wait as Retry-After says"
	}
	p.header.Set("Retry-After", fmt.Sprint(max(1, seconds(s.RetryAfter))))
	return p
}

// seconds rounds up: who comes again then is let in.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

func (r *rates) count(ctx context.Context, name string, limit redisstate.Limit) redisstate.Spent {
	if r.redis != nil {
		if s, err := r.redis.Spend(ctx, name, limit); err == nil {
			return s
		}
		r.local.Inc()
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.full[name]; !known && len(r.full) >= maxLocalRates {
		r.forget(now)
	}
	var s redisstate.Spent
	r.full[name], s = limit.Spend(r.full[name], now)
	return s
}

// forget makes room.
func (r *rates) forget(now time.Time) {
	for name, full := range r.full {
		if !full.After(now) {
			delete(r.full, name)
		}
	}
	if len(r.full) >= maxLocalRates {
		clear(r.full)
	}
}

// addressOf is what a request comes from, as far as it is counted.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return network.String()
}
