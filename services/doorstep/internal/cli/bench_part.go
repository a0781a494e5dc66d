package cli

import (
	"context"

	"github.com/doorstep-dev/doorstep/pkg/embedded"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/bench"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

// benchPartCmd is the processes of a bench that are not services. The bench starts them.
type benchPartCmd struct {
	Stores   benchStoresCmd   `cmd:"" help:"Host embedded stores."`
	Receiver benchReceiverCmd `cmd:"" help:"Receive webhooks and note when they come."`
	Ingest   benchIngestCmd   `cmd:"" help:"Write events to the log, and nothing else."`
}

type benchStoresCmd struct {
	Admin   string `env:"DOORSTEP_ADMIN_ADDR" required:"" help:"Where it tells its addresses."`
	Dir     string `required:"" help:"Directory of the log."`
	NoKafka bool   `help:"No log."`
	NoRedis bool   `help:"No Redis."`
}

// Run hosts stores until it is stopped.
func (c *benchStoresCmd) Run(ctx context.Context) error {
	return bench.RunStores(ctx, embedded.Config{Dir: c.Dir, Log: !c.NoKafka, Redis: !c.NoRedis}, c.Admin)
}

type benchReceiverCmd struct {
	Admin string `env:"DOORSTEP_ADMIN_ADDR" required:"" help:"Where it tells what came."`
	Addr  string `env:"DOORSTEP_HTTP_ADDR" required:"" help:"Where it receives."`
}

// Run receives until it is stopped.
func (c *benchReceiverCmd) Run(ctx context.Context) error {
	return bench.RunReceiver(ctx, c.Addr, c.Admin)
}

type benchIngestCmd struct {
	Admin string         `env:"DOORSTEP_ADMIN_ADDR" required:"" help:"Where it says that it is ready."`
	Addr  string         `env:"DOORSTEP_GRPC_ADDR" required:"" help:"Where it takes events in."`
	Kafka settings.Kafka `embed:""`
}

// Run takes events in until it is stopped.
func (c *benchIngestCmd) Run(ctx context.Context) error {
	return bench.RunBareIngest(ctx, kafka.Config(c.Kafka), c.Addr, c.Admin)
}
