package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/bench"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

type benchCmd struct {
	Time      time.Duration  `default:"5s" help:"How long each run measures, about; some cases need longer."`
	Rounds    int            `default:"3" help:"How often all cases are run, in turn."`
	Only      []string       `placeholder:"CASE" help:"Run these cases and their ceilings only, comma separated; --list names them."`
	List      bool           `help:"Name the cases and end."`
	HTML      string         `name:"html" placeholder:"FILE" help:"Write a report with plots, one file that needs nothing else."`
	JSON      string         `name:"json" placeholder:"FILE" help:"Write everything that was measured."`
	Webhooks  int            `default:"10" help:"Webhooks that deliveries go to, in cases that do not say otherwise."`
	BodyBytes int            `default:"1024" help:"Bytes of each event's data, and of each POST."`
	InFlight  int            `default:"64" help:"POSTs that the bare loops have in flight."`
	Output    output         `embed:""`
	Kafka     settings.Kafka `embed:""`
	Redis     settings.Redis `embed:""`
	SQL       settings.SQL   `embed:""`
}

// Help says what is measured against what.
func (*benchCmd) Help() string {
	return `Measures Doorstep from outside: processes of its own, on this machine, that end with the bench. Figures count as ratios to
ceilings of the same round: a bare POST loop, a bare producer, a bare transactional hop. Stores without an address are embedded; in
those that are named, topics, keys and tables under names of the run's own are made and removed again. The exit code is 1 if
something could not be measured, 0 also where a target is missed.`
}

// Run measures and prints a table.
func (c *benchCmd) Run(ctx context.Context, streams IO) error {
	if c.List {
		return c.list(streams.Out)
	}
	if err := c.validate(); err != nil {
		return usageError{err}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once, and its processes with it
	report, err := bench.Run(ctx, bench.Config{
		Time: c.Time, Rounds: c.Rounds, Only: c.Only,
		Options: bench.Options{BodyBytes: c.BodyBytes, Webhooks: c.Webhooks, InFlight: c.InFlight},
		Servers: bench.Servers{Kafka: kafka.Config(c.Kafka), Redis: redisstate.Config(c.Redis), SQL: sqldb.Config(c.SQL)},
		Told:    func(n bench.Notice) { fmt.Fprintln(streams.Err, n) },
	})
	if ctx.Err() != nil {
		return errStopped
	}
	return errors.Join(c.write(streams.Out, report), err)
}

func (c *benchCmd) validate() error {
	for name, n := range map[string]int{"rounds": c.Rounds, "webhooks": c.Webhooks, "body-bytes": c.BodyBytes, "in-flight": c.InFlight} {
		if n < 1 {
			return fmt.Errorf("--%s: must be at least 1", name)
		}
	}
	if c.Time < bench.MinTime {
		return fmt.Errorf("--time: must be at least %s", bench.MinTime)
	}
	if cfg := kafka.Config(c.Kafka); len(cfg.Brokers) > 0 {
		if err := cfg.Validate(); err != nil {
			return err
		}
	} else if cfg.Security != (kafka.Security{}) {
		return errors.New("--kafka-brokers: is required with kafka-tls and kafka-sasl; the embedded log has neither")
	}
	return bench.CheckOnly(c.Only)
}

func (c *benchCmd) list(w io.Writer) error {
	var rows [][]string
	for _, n := range bench.Names() {
		rows = append(rows, n[:])
	}
	return table(w, []string{"CASE", "WHAT IS DONE"}, rows)
}

// write writes what was asked for. A file that cannot be written does not keep the rest from being shown.
func (c *benchCmd) write(w io.Writer, r bench.Report) error {
	return errors.Join(
		toFile(c.JSON, func(w io.Writer) error { return json.NewEncoder(w).Encode(r) }),
		toFile(c.HTML, r.HTML),
		c.print(w, r),
	)
}

func (c *benchCmd) print(w io.Writer, r bench.Report) error {
	if done, err := c.Output.json(w, r); done {
		return err
	}
	if err := table(w, bench.Header(), r.Rows()); err != nil {
		return err
	}
	met, all := r.Met()
	_, err := fmt.Fprintf(w, "\n%s\n%d of %d targets met: medians of %d rounds of %s; spread from least to most\n", r.Machine, met, all, c.Rounds, c.Time)
	return err
}

// toFile writes a file, if it has a name.
func toFile(name string, write func(io.Writer) error) (err error) {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err // names the file
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}
