package notifier

import (
	"errors"
	"net/url"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

// Config is the notifier's settings.
type Config struct {
	Kafka        kafka.Config      `kong:"-"`
	Redis        redisstate.Config `kong:"-"`
	Mail         mail.Config       `kong:"-"`
	Instance     string            `kong:"-"` // static membership; empty: dynamic
	DisableAfter int               `kong:"-"` // consecutive failed attempts after which a webhook is disabled, as the senders have it

	ConsoleURL string `name:"console-url" env:"DOORSTEP_CONSOLE_URL" placeholder:"URL" help:"Where people reach the web console, e.g. https://hooks.example.com, for the links in mails and answers; if it is https, its cookies are sent over https only. Empty: not known, there are no links; doorstep up takes its own address."`

	// Waits are those after each failed try, the last one again and again; GiveUp is how long after its notice a
	// mail is given up. Nil and 0: as the package says.
	Waits  []time.Duration `kong:"-"`
	GiveUp time.Duration   `kong:"-"`
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	errs := []error{c.Kafka.Validate(), c.Mail.Validate()}
	if u, err := url.Parse(c.ConsoleURL); c.ConsoleURL != "" && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "") {
		errs = append(errs, errors.New("console-url: must be http://HOST or https://HOST"))
	}
	if c.DisableAfter < 1 {
		errs = append(errs, errors.New("disable-after: must be at least 1"))
	}
	return errors.Join(errs...)
}

// withDefaults fills in what is the same everywhere but in tests.
func (c Config) withDefaults() Config {
	if c.Waits == nil {
		c.Waits = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	}
	if c.GiveUp == 0 {
		c.GiveUp = 72 * time.Hour
	}
	return c
}

func (c Config) groupName() string { return c.Kafka.TopicPrefix + name }
