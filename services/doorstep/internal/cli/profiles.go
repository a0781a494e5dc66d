package cli

import (
	"fmt"
	"log/slog"

	"github.com/doorstep-dev/doorstep/pkg/process"
)

// profiles is the setting of all that runs for long.
type profiles struct {
	Addr string `name:"pprof" env:"DOORSTEP_PPROF_ADDR" placeholder:"HOST:PORT" help:"Where /debug/pprof answers, e.g. 127.0.0.1:6060; loopback only, as profiles show what is in memory: come by ssh -L or kubectl port-forward. Empty: nowhere."`
}

// component serves profiles; false: nobody asked for them.
func (p profiles) component(log *slog.Logger) (c process.Component, wanted bool, err error) {
	if p.Addr == "" {
		return c, false, nil
	}
	if err := process.Loopback(p.Addr); err != nil {
		return c, false, usageError{fmt.Errorf("--pprof: %w", err)}
	}
	server, err := process.NewProfiles(p.Addr, "pprof")
	if err != nil {
		return c, false, err
	}
	log.Info("profiles", "pprof", server.Addr())
	return process.Component{Name: "pprof", Run: server.Run}, true, nil
}
