package process

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
)

// NewProfiles listens on addr for /debug/pprof. Profiles show what is in memory and how the program was called, and
// taking them costs time, while nobody is asked who they are: so addr must be loopback, which other machines reach only
// through somebody who may log in here (ssh -L, kubectl port-forward). flag is as in Listen.
func NewProfiles(addr, flag string) (*Server, error) {
	if err := Loopback(addr); err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return NewServer(addr, flag, mux)
}

// Loopback errs unless addr (host:port) is this machine's alone.
func Loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s can be reached from elsewhere; listen on 127.0.0.1 and come by ssh -L or kubectl port-forward", addr)
	}
	return nil
}
