package matcher

import (
	"errors"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/trace"
)

// Config is the matcher's settings.
type Config struct {
	Kafka    kafka.Config      `kong:"-"`
	Redis    redisstate.Config `kong:"-"`
	Instance string            `kong:"-"` // the same again after a restart; empty: the host's name
	// Room errs while nothing more may be written to the log; nil: there is always room.
	Room  func() error  `kong:"-"`
	Trace *trace.Tracer `kong:"-"` // makes a span of each event; nil: none

	MaxWebhooksPerEvent int `name:"matcher-max-webhooks-per-event" env:"DOORSTEP_MATCHER_MAX_WEBHOOKS_PER_EVENT" default:"10000" help:"Webhooks that one event fires at most, oldest first, where its tenant has no limit of its own."`
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	err := c.Kafka.Validate()
	if c.MaxWebhooksPerEvent < 1 {
		err = errors.Join(err, errors.New("matcher-max-webhooks-per-event: must be at least 1"))
	}
	return err
}
