package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/bench"
)

type benchCmd struct {
	Deliveries int    `default:"20000" help:"Deliveries of each run."`
	Rounds     int    `default:"3" help:"How often both are run, in turn."`
	Webhooks   int    `default:"10" help:"Webhooks that the deliveries are for."`
	BodyBytes  int    `default:"1024" help:"Bytes of each body."`
	InFlight   int    `default:"64" help:"POSTs that the bare loop has in flight."`
	Output     output `embed:""`
}

// Run measures the sender beside a bare HTTP loop and prints both, with their ratio.
func (c *benchCmd) Run(ctx context.Context, streams IO) error {
	for name, n := range map[string]int{
		"deliveries": c.Deliveries, "rounds": c.Rounds, "webhooks": c.Webhooks, "body-bytes": c.BodyBytes, "in-flight": c.InFlight,
	} {
		if n < 1 {
			return usageError{fmt.Errorf("--%s: must be at least 1", name)}
		}
	}
	dir, err := os.MkdirTemp("", "doorstep-bench-")
	if err != nil {
		return fmt.Errorf("a directory for the log: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	report, err := bench.Run(ctx, bench.Config{
		Deliveries: c.Deliveries, Rounds: c.Rounds, Webhooks: c.Webhooks, BodyBytes: c.BodyBytes, InFlight: c.InFlight,
		Dir: dir, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if done, err := c.Output.json(streams.Out, report); done {
		return err
	}
	return printReport(streams, report)
}

func printReport(streams IO, r bench.Report) error {
	fmt.Fprintf(streams.Out, "%d deliveries of %d bytes for %d webhooks, to a receiver in this process.\n"+
		"bare loop: net/http signs and POSTs the same bytes. drain: the sender with everything on, from the embedded log.\n\n",
		r.Deliveries, r.BodyBytes, r.Webhooks)
	var rows [][]string
	for i, round := range r.Rounds {
		rows = append(rows, []string{
			fmt.Sprint(i + 1), fmt.Sprintf("%.0f/s", round.Bare.PerSecond), fmt.Sprintf("%.0f/s", round.Drain.PerSecond),
			fmt.Sprintf("%.2f", round.Drain.PerSecond/round.Bare.PerSecond),
			fmt.Sprintf("%.3f s", round.Bare.CPUSeconds), fmt.Sprintf("%.3f s", round.Drain.CPUSeconds),
		})
	}
	if err := table(streams.Out, []string{"ROUND", "BARE LOOP", "DRAIN", "RATIO", "CPU/1000 BARE", "CPU/1000 DRAIN"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(streams.Out, "\ndrain / bare loop: %.2f median, %.2f to %.2f\n", r.DrainRatio[0], r.DrainRatio[1], r.DrainRatio[2])
	return err
}
