package embedded

import (
	"fmt"
	"net"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// redisServer is miniredis with a clock, and with a listener that outlives a want of open files. Nothing of it
// outlives the process: the failure states come back from their topic, seen event ids from the last events.
type redisServer struct {
	server   *miniredis.Miniredis
	listener net.Listener
	at       time.Time // how far its clock has been advanced
}

func openRedis(now time.Time) (*redisServer, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded redis: %w", err)
	}
	l, err := listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("start the embedded redis: %w", err)
	}
	r := &redisServer{server: m, listener: l, at: now}
	go r.serve(m.Server())
	return r, nil
}

// serve hands connections to the server until close.
func (r *redisServer) serve(to *server.Server) {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		to.ServeConn(conn)
	}
}

// advance moves the clock on to now, which expires keys. miniredis keeps a time to live by key
// and lowers it only when told.
func (r *redisServer) advance(now time.Time) {
	if passed := now.Sub(r.at); passed > 0 {
		r.server.FastForward(passed)
		r.at = now
	}
}

func (r *redisServer) url() string { return "redis://" + r.listener.Addr().String() }

func (r *redisServer) close() {
	_ = r.listener.Close() // the server closes the connections
	r.server.Close()
}
