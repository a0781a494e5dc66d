package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/demo"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

// demoReady bounds the start of a demo.
const demoReady = 30 * time.Second

type upCmd struct {
	Data        string `env:"DOORSTEP_DATA_DIR" type:"path" placeholder:"DIR" default:"./doorstep-data" help:"Data directory of the embedded log and database; one process at a time."`
	LogMaxBytes int64  `env:"DOORSTEP_LOG_MAX_BYTES" default:"268435456" help:"Bound of the embedded log on disk, in bytes, at least 16 MiB. At the bound what is delivered is dropped first, then publishing is refused."`
	LogSync     bool   `env:"DOORSTEP_LOG_SYNC" help:"Write every record of the embedded log through to the disk before it is acknowledged. Without it a power cut may lose the last seconds."`
	Demo        bool   `help:"Show it at work: a data directory of its own that is removed afterwards, local receivers, short retries."`
	DemoExit    bool   `help:"With --demo: end when everything has been shown, with exit code 0 if it all worked."`

	Services settings.Services `embed:""`
	Profiles profiles          `embed:""`
	Log      logging           `embed:""`
}

// Run runs everything until it is stopped.
func (c *upCmd) Run(ctx context.Context, streams IO) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	log, err := c.Log.logger(streams.Err)
	if err != nil {
		return err
	}
	if c.Demo || c.DemoExit {
		return c.runDemo(ctx, streams, cfg, log)
	}
	profiles, wanted, err := c.Profiles.component(log)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	parts := []process.Component{{Name: "greeting", Run: func(ctx context.Context) error {
		if a.WaitReady(ctx) == nil {
			greet(streams.Out, a, cfg)
		}
		return nil
	}}}
	if wanted {
		parts = append(parts, profiles)
	}
	return a.Run(ctx, parts...)
}

func (c *upCmd) config() (app.Config, error) {
	cfg, err := app.Of(c.Services)
	if err != nil {
		return app.Config{}, usageError{err}
	}
	cfg.Dir, cfg.LogMaxBytes, cfg.LogSync = c.Data, c.LogMaxBytes, c.LogSync
	return cfg, nil
}

// greet says where everything is.
func greet(w io.Writer, a *app.App, cfg app.Config) {
	fmt.Fprintf(w, "Doorstep %s is ready.\n\n", obs.Version())
	_ = list(w, [2]string{"  web console", a.URL() + "/console/"}, [2]string{"  REST", a.URL() + "/api/v1"}, [2]string{"  gRPC", a.GRPC()},
		[2]string{"  probes, metrics", a.URL() + "/readyz, " + a.URL() + "/metrics"}, [2]string{"  stores", stores(cfg)})
	if key := a.Key(); key != "" {
		printKey(w, key)
	}
	fmt.Fprintln(w, "\nCtrl-C stops it once what is in flight has ended; twice stops it at once.")
}

// printKey shows the one key that is made at a first start.
func printKey(w io.Writer, key string) {
	fmt.Fprintf(w, "\nThe platform's API key, shown this once; keep it safe:\n  export DOORSTEP_KEY=%s\n", key)
}

// stores says what keeps what.
func stores(cfg app.Config) string {
	name := func(address, there string, here string) string {
		if address != "" {
			return there
		}
		return here
	}
	return strings.Join([]string{
		name(strings.Join(cfg.Kafka.Brokers, ","), "Kafka", "embedded log in "+cfg.Dir),
		name(cfg.Redis.URL, "Redis", "embedded state"),
		name(cfg.SQL.PostgresURL, "PostgreSQL", "SQLite in "+cfg.Dir),
	}, "; ")
}

// runDemo runs everything on a data directory of its own and shows it.
func (c *upCmd) runDemo(ctx context.Context, streams IO, cfg app.Config, log *slog.Logger) error {
	dir, err := os.MkdirTemp("", "doorstep-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)
	if !log.Enabled(ctx, slog.LevelDebug) {
		log = quiet(streams.Err) // its retries are warned of, and meant
	}
	cfg = demoConfig(cfg, dir)
	cfg.Console.HTTP = freeAddr(streams.Out, cfg.Console.HTTP)
	cfg.Ingest.Addr = freeAddr(streams.Out, cfg.Ingest.Addr)
	a, err := app.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return a.Run(ctx, process.Component{Name: "demo", Stage: demoStage, Run: func(ctx context.Context) error {
		ready, cancel := context.WithTimeout(ctx, demoReady)
		defer cancel()
		if err := a.WaitReady(ready); err != nil {
			return stopped(ctx, err)
		}
		fmt.Fprintf(streams.Out, "Doorstep %s: REST %s, gRPC %s, data in %s\n\n", obs.Version(), a.URL(), a.GRPC(), dir)
		wait, err := demo.Run(ctx, demo.Config{URL: a.URL(), GRPC: a.GRPC(), Key: cfg.Console.BootstrapKey, Out: streams.Out})
		if err != nil {
			return stopped(ctx, err)
		}
		if c.DemoExit {
			stop()
		}
		return wait()
	}})
}

// demoStage is below all others: the demo's receivers end last, so that what is in flight to them ends well.
const demoStage = -1

// stopped is nil for an error that is due to the user's stop.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// demoConfig is everything embedded, receivers on loopback allowed, and retries that one can wait for.
// It leaves the settings of a real installation alone, should the environment name one.
func demoConfig(cfg app.Config, dir string) app.Config {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never errs
	cfg.Dir = dir
	cfg.Kafka.Brokers, cfg.Kafka.RetryTiers = nil, demo.Tiers
	cfg.Redis.URL, cfg.SQL.PostgresURL, cfg.Sealing, cfg.TLS = "", "", credentials.SealingKeys{}, credentials.ServerTLS{}
	cfg.Ingest.OwnTLS, cfg.Ingest.ClientCAFile, cfg.Console.OwnTLS = credentials.ListenerTLS{}, "", credentials.ListenerTLS{}
	cfg.Egress = egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	cfg.Console.BootstrapKey = auth.NewKey(random)
	return cfg
}

// freeAddr is addr, or any free port on the same host if it is taken.
func freeAddr(w io.Writer, addr string) string {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		l.Close()
		return addr
	}
	host, _, split := net.SplitHostPort(addr)
	if split != nil {
		return addr // New says what is wrong with it
	}
	fmt.Fprintf(w, "%s is taken; the demo uses another port.\n", addr)
	return net.JoinHostPort(host, "0")
}

// quiet logs errors only.
func quiet(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelError}))
}
