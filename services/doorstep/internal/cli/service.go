package cli

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

// admin is what every service that runs alone has.
type admin struct {
	Addr string                  `name:"admin" env:"DOORSTEP_ADMIN_ADDR" default:":9090" placeholder:"HOST:PORT" help:"Where /healthz, /readyz and /metrics answer, over https if tls-cert-file is given (probes: scheme HTTPS); not for customers."`
	TLS  settings.TLS            `embed:""`
	Own  credentials.ListenerTLS `embed:"" prefix:"admin-" envprefix:"DOORSTEP_ADMIN_"`

	Profiles profiles `embed:""`
}

// service is what runs alone.
type service interface {
	Run(ctx context.Context) error
	Ready() error
}

// checked is settings that can say what is wrong with them.
type checked interface{ Validate() error }

// runService makes one service and runs it with its admin address until a signal. traced gives it what makes its spans; nil: it has
// none.
func runService[C checked, S service](streams IO, l logging, a admin, name string, cfg C, build func(C, *slog.Logger, prometheus.Registerer) (S, error), traced func(*C, *trace.Tracer)) error {
	log, err := l.logger(streams.Err)
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usageError{err}
	}
	log = log.With("service", name)
	serving, err := credentials.ServerTLS(a.TLS).Of("admin", a.Own, "")
	if err != nil {
		return usageError{err}
	}
	secure, err := serving.Config(log)
	if err != nil {
		return usageError{err}
	}
	metrics := obs.Registry()
	endpoints := process.NewAdmin(metrics)
	metrics.MustRegister(endpoints)
	server, err := process.NewServer(a.Addr, "admin", endpoints.Handler())
	if err != nil {
		return err
	}
	server.UseTLS(secure)
	parts := []process.Component{{Name: "admin", Run: server.Run}}
	if profiles, wanted, err := a.Profiles.component(log); err != nil {
		return err
	} else if wanted {
		parts = append(parts, profiles)
	}
	spans, err := traces(traced, &cfg, name, log, metrics)
	if err != nil {
		return err
	}
	s, err := build(cfg, log, prometheus.WrapRegistererWith(prometheus.Labels{"service": name}, metrics))
	if err != nil {
		return err
	}
	endpoints.AddCheck(name, func(context.Context) error { return s.Ready() })
	log.Info("started", "version", obs.Version(), "admin", server.Addr())
	parts = append(parts, process.Component{Name: "traces", Run: spans.Run}, process.Component{Name: name, Stage: 1, Run: s.Run})
	return process.Run(context.Background(), process.Config{Log: log}, parts...)
}

// traces gives a service what makes its spans, as the variables of OpenTelemetry say; nothing where traced is nil.
func traces[C any](traced func(*C, *trace.Tracer), cfg *C, name string, log *slog.Logger, metrics prometheus.Registerer) (*trace.Provider, error) {
	if traced == nil {
		return nil, nil
	}
	spans, err := trace.Open(context.Background(), log, metrics)
	if err != nil {
		return nil, usageError{err}
	}
	tracer, err := spans.Tracer(name)
	if err != nil {
		return nil, usageError{err}
	}
	traced(cfg, tracer)
	return spans, nil
}
