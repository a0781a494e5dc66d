package cli

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/process"
)

// admin is what every service that runs alone has.
type admin struct {
	Addr string `name:"admin" env:"DOORSTEP_ADMIN_ADDR" default:":9090" placeholder:"HOST:PORT" help:"Where /healthz, /readyz, /metrics and /debug/pprof answer; not for customers."`
}

// service is what runs alone.
type service interface {
	Run(ctx context.Context) error
	Ready() error
}

// checked is settings that can say what is wrong with them.
type checked interface{ Validate() error }

// runService makes one service and runs it with its admin address until a signal.
func runService[C checked, S service](streams IO, l logging, a admin, name string, cfg C, build func(C, *slog.Logger, prometheus.Registerer) (S, error)) error {
	log, err := l.logger(streams.Err)
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usageError{err}
	}
	log = log.With("service", name)
	metrics := obs.Registry()
	endpoints := process.NewAdmin(metrics)
	server, err := process.NewServer(a.Addr, "admin", endpoints.Handler())
	if err != nil {
		return err
	}
	s, err := build(cfg, log, prometheus.WrapRegistererWith(prometheus.Labels{"service": name}, metrics))
	if err != nil {
		return err
	}
	endpoints.AddCheck(name, func(context.Context) error { return s.Ready() })
	log.Info("started", "version", obs.Version(), "admin", server.Addr())
	return process.Run(context.Background(), process.Config{Log: log},
		process.Component{Name: name, Stage: 1, Run: s.Run},
		process.Component{Name: "admin", Run: server.Run})
}
