package sender

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Config is the sender's settings.
type Config struct {
	Kafka    kafka.Config            `kong:"-"`
	Redis    redisstate.Config       `kong:"-"`
	Egress   egress.Policy           `kong:"-"` // what may be a target
	RootCAs  *x509.CertPool          `kong:"-"` // whom to trust in TLS; default the system's
	Sealing  credentials.SealingKeys `kong:"-"` // open what consoles seal
	Instance string                  `kong:"-"` // static membership; empty: dynamic
	Version  string                  `kong:"-"` // for the header User-Agent
	Trace    *trace.Tracer           `kong:"-"` // makes a span of each attempt; nil: none

	MaxInFlight     int           `name:"sender-max-in-flight" env:"DOORSTEP_SENDER_MAX_IN_FLIGHT" default:"4096" help:"POSTs in flight in this sender: a quarter for receivers that answer within a second, a quarter for those that do not, the rest for those that fall silent."`
	MaxQueued       int           `name:"sender-max-queued" env:"DOORSTEP_SENDER_MAX_QUEUED" default:"20000" help:"Deliveries queued in this sender's memory, at most 64 MiB of them."`
	KeepAnswerBytes int           `name:"sender-keep-answer-bytes" env:"DOORSTEP_SENDER_KEEP_ANSWER_BYTES" default:"4096" help:"First bytes of a receiver's answer that an attempt keeps, 0 to 16384; a tenant's policy may keep nothing of answers."`
	Traceparent     bool          `name:"sender-traceparent" env:"DOORSTEP_SENDER_TRACEPARENT" help:"Send receivers the header traceparent, by which their spans join the trace of the event (W3C Trace Context). It tells them your trace ids."`
	DrainWithin     time.Duration `name:"sender-drain-within" env:"DOORSTEP_SENDER_DRAIN_WITHIN" default:"1m" help:"The metric doorstep_sender_required_replicas asks for as many senders as make a backlog vanish within this time, 1s to 1h."`
	CPUs            float64       `name:"sender-cpus" env:"DOORSTEP_SENDER_CPUS" default:"0" help:"Processors that this sender may count on, e.g. 0.5, for the metric doorstep_sender_required_replicas; 0: what its container is limited to, else all."`
	WarnAfter       int           `name:"warn-after" env:"DOORSTEP_WARN_AFTER" default:"250" help:"Consecutive failed attempts after which administrators are warned."`
	DisableAfter    int           `name:"disable-after" env:"DOORSTEP_DISABLE_AFTER" default:"500" help:"Consecutive failed attempts after which a webhook is disabled."`
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	var errs []error
	positive := func(name string, n int) {
		if n < 1 {
			errs = append(errs, fmt.Errorf("%s: must be at least 1", name))
		}
	}
	positive("sender-max-in-flight", c.MaxInFlight)
	positive("sender-max-queued", c.MaxQueued)
	if n := c.KeepAnswerBytes; n < 0 || n > post.MaxKeepAnswerBytes {
		errs = append(errs, fmt.Errorf("sender-keep-answer-bytes: must be 0 to %d", post.MaxKeepAnswerBytes))
	}
	if c.DrainWithin < time.Second || c.DrainWithin > time.Hour {
		errs = append(errs, errors.New("sender-drain-within: must be 1s to 1h"))
	}
	if c.CPUs < 0 || c.CPUs > maxCPUs || c.CPUs != c.CPUs {
		errs = append(errs, fmt.Errorf("sender-cpus: must be 0 to %d", maxCPUs))
	}
	positive("warn-after", c.WarnAfter)
	positive("disable-after", c.DisableAfter)
	return errors.Join(append(errs, c.Kafka.Validate(), c.Sealing.Validate())...)
}

func (c Config) policy() failure.Policy {
	return failure.Policy{WarnAfter: c.WarnAfter, DisableAfter: c.DisableAfter}
}

const (
	maxCPUs     = 1024
	commitEvery = 100 * time.Millisecond
	// drainTime is how long a stop, or giving partitions away, waits for POSTs in flight.
	drainTime = webhook.MaxTimeout + 2*time.Second
)
