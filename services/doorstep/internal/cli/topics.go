package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
)

// topicsTimeout bounds the work on the topics: a cluster makes a few dozen in seconds.
const topicsTimeout = time.Minute

type topicsCmd struct {
	Apply topicsApplyCmd `cmd:"" help:"Create the topics that are missing, add partitions where asked, then check all."`
	Check topicsCheckCmd `cmd:"" help:"Say what is wrong with the topics: missing, set so that data would be lost, or lanes that differ."`
	ACLs  topicsACLsCmd  `cmd:"" name:"acls" help:"Print what each service must be allowed to do on a Kafka with ACLs, or allow it."`
}

type topicsApplyCmd struct {
	Kafka   settings.Kafka     `embed:""`
	Options kafka.TopicOptions `embed:""`
}

// Run creates and checks the topics.
func (c *topicsApplyCmd) Run(ctx context.Context, streams IO) error {
	return withTopics(ctx, kafka.Config(c.Kafka), func(ctx context.Context, adm *kadm.Client, topics wire.Topics) error {
		if err := kafka.Apply(ctx, adm, topics, c.Options); err != nil {
			return err
		}
		_, err := fmt.Fprintln(streams.Out, "topics are in place")
		return err
	})
}

type topicsCheckCmd struct {
	Kafka settings.Kafka `embed:""`
}

// Run checks the topics.
func (c *topicsCheckCmd) Run(ctx context.Context, streams IO) error {
	return withTopics(ctx, kafka.Config(c.Kafka), func(ctx context.Context, adm *kadm.Client, topics wire.Topics) error {
		if err := kafka.Check(ctx, adm, topics); err != nil {
			return err
		}
		_, err := fmt.Fprintln(streams.Out, "topics are fit for use")
		return err
	})
}

// withTopics connects to the brokers for do.
func withTopics(ctx context.Context, cfg kafka.Config, do func(context.Context, *kadm.Client, wire.Topics) error) error {
	topics, err := cfg.Topics()
	if err != nil {
		return usageError{err}
	}
	return withBrokers(ctx, cfg, func(ctx context.Context, client *kgo.Client) error {
		return do(ctx, kadm.NewClient(client), topics)
	})
}

// withBrokers connects to the brokers for do.
func withBrokers(ctx context.Context, cfg kafka.Config, do func(context.Context, *kgo.Client) error) error {
	if err := cfg.Validate(); err != nil {
		return usageError{fmt.Errorf("--%w", err)}
	}
	client, err := cfg.NewClient("topics", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, topicsTimeout)
	defer cancel()
	if err := kafka.Ping(ctx, client); err != nil {
		return fmt.Errorf("no broker answers at %v: %w", cfg.Brokers, err)
	}
	return do(ctx, client)
}
