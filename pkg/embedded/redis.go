package embedded

import (
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// redisServer is miniredis with a clock. Nothing of it outlives the process: the failure states
// come back from their topic, seen event ids from the last events.
type redisServer struct {
	server *miniredis.Miniredis
	at     time.Time // how far its clock has been advanced
}

func openRedis(now time.Time) (*redisServer, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded redis: %w", err)
	}
	return &redisServer{server: m, at: now}, nil
}

// advance moves the clock on to now, which expires keys. miniredis keeps a time to live by key
// and lowers it only when told.
func (r *redisServer) advance(now time.Time) {
	if passed := now.Sub(r.at); passed > 0 {
		r.server.FastForward(passed)
		r.at = now
	}
}

func (r *redisServer) url() string { return "redis://" + r.server.Addr() }
func (r *redisServer) close()      { r.server.Close() }
