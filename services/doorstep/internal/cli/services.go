package cli

import (
	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/services/console"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
	"github.com/doorstep-dev/doorstep/services/ingest"
	"github.com/doorstep-dev/doorstep/services/matcher"
	"github.com/doorstep-dev/doorstep/services/notifier"
	"github.com/doorstep-dev/doorstep/services/recorder"
	"github.com/doorstep-dev/doorstep/services/sender"
)

type ingestCmd struct {
	Ingest settings.Ingest `embed:""`
	Kafka  settings.Kafka  `embed:""`
	Admin  admin           `embed:""`
	Log    logging         `embed:""`
}

// Run takes events in until it is stopped.
func (c *ingestCmd) Run(streams IO) error {
	cfg := ingest.Config(c.Ingest)
	cfg.Kafka, cfg.TLS = kafka.Config(c.Kafka), credentials.ServerTLS(c.Admin.TLS)
	return runService(streams, c.Log, c.Admin, "ingest", cfg, ingest.New, func(c *ingest.Config, t *trace.Tracer) { c.Publish.Trace = t })
}

type matcherCmd struct {
	Matcher  settings.Matcher  `embed:""`
	Kafka    settings.Kafka    `embed:""`
	Redis    settings.Redis    `embed:""`
	Instance settings.Instance `embed:""`
	Admin    admin             `embed:""`
	Log      logging           `embed:""`
}

// Run matches until it is stopped.
func (c *matcherCmd) Run(streams IO) error {
	cfg := matcher.Config(c.Matcher)
	cfg.Kafka, cfg.Redis, cfg.Instance = kafka.Config(c.Kafka), redisstate.Config(c.Redis), c.Instance.Name
	return runService(streams, c.Log, c.Admin, "matcher", cfg, matcher.New, func(c *matcher.Config, t *trace.Tracer) { c.Trace = t })
}

type senderCmd struct {
	Sender   settings.Sender   `embed:""`
	Egress   settings.Egress   `embed:""`
	Sealing  settings.Sealing  `embed:""`
	Kafka    settings.Kafka    `embed:""`
	Redis    settings.Redis    `embed:""`
	Instance settings.Instance `embed:""`
	Admin    admin             `embed:""`
	Log      logging           `embed:""`
}

// Run sends until it is stopped.
func (c *senderCmd) Run(streams IO) error {
	cfg := sender.Config(c.Sender)
	cfg.Kafka, cfg.Redis, cfg.Instance, cfg.Version = kafka.Config(c.Kafka), redisstate.Config(c.Redis), c.Instance.Name, obs.Version()
	cfg.Sealing = credentials.SealingKeys(c.Sealing)
	var err error
	if cfg.Egress, err = c.Egress.Policy(); err != nil {
		return usageError{err}
	}
	return runService(streams, c.Log, c.Admin, "sender", cfg, sender.New, func(c *sender.Config, t *trace.Tracer) { c.Trace = t })
}

type recorderCmd struct {
	Recorder settings.Recorder `embed:""`
	SQL      settings.SQL      `embed:""`
	Kafka    settings.Kafka    `embed:""`
	Instance settings.Instance `embed:""`
	Admin    admin             `embed:""`
	Log      logging           `embed:""`
}

// Run records until it is stopped.
func (c *recorderCmd) Run(streams IO) error {
	cfg := recorder.Config(c.Recorder)
	cfg.Kafka, cfg.SQL, cfg.Instance = kafka.Config(c.Kafka), sqldb.Config(c.SQL), c.Instance.Name
	return runService(streams, c.Log, c.Admin, "recorder", cfg, recorder.New, nil)
}

type notifierCmd struct {
	Notifier     settings.Notifier `embed:""`
	DisableAfter int               `name:"disable-after" env:"DOORSTEP_DISABLE_AFTER" default:"500" help:"Consecutive failed attempts after which a webhook is disabled, as the senders have it; a warning tells of it."`
	Mail         settings.Mail     `embed:""`
	Kafka        settings.Kafka    `embed:""`
	Redis        settings.Redis    `embed:""`
	Instance     settings.Instance `embed:""`
	Admin        admin             `embed:""`
	Log          logging           `embed:""`
}

// Run mails until it is stopped.
func (c *notifierCmd) Run(streams IO) error {
	cfg := notifier.Config(c.Notifier)
	cfg.Kafka, cfg.Redis, cfg.Mail = kafka.Config(c.Kafka), redisstate.Config(c.Redis), mail.Config(c.Mail)
	cfg.Instance, cfg.DisableAfter = c.Instance.Name, c.DisableAfter
	return runService(streams, c.Log, c.Admin, "notifier", cfg, notifier.New, nil)
}

type consoleCmd struct {
	Console    settings.Console `embed:""`
	ConsoleURL string           `name:"console-url" env:"DOORSTEP_CONSOLE_URL" placeholder:"URL" help:"Where people reach the web console, e.g. https://hooks.example.com: if it is https, its cookies are sent over https only. Empty: not known, links are without a host."`
	SQL        settings.SQL     `embed:""`
	Egress     settings.Egress  `embed:""`
	Sealing    settings.Sealing `embed:""`
	Kafka      settings.Kafka   `embed:""`
	Redis      settings.Redis   `embed:""`
	Admin      admin            `embed:""`
	Log        logging          `embed:""`
}

// Run serves REST and the web console until it is stopped. The key of a first start is printed on stdout; in a cluster
// DOORSTEP_BOOTSTRAP_KEY names one instead.
func (c *consoleCmd) Run(streams IO) error {
	cfg := console.Config(c.Console)
	cfg.PublicURL, cfg.Sealing, cfg.TLS = c.ConsoleURL, credentials.SealingKeys(c.Sealing), credentials.ServerTLS(c.Admin.TLS)
	cfg.Redis = redisstate.Config(c.Redis)
	cfg.Kafka, cfg.SQL, cfg.History = kafka.Config(c.Kafka), sqldb.Config(c.SQL), sqldb.Config(c.SQL)
	cfg.FirstKey = func(key string) { printKey(streams.Out, key) }
	var err error
	if cfg.Egress, err = c.Egress.Policy(); err != nil {
		return usageError{err}
	}
	return runService(streams, c.Log, c.Admin, "console", cfg, console.New, func(c *console.Config, t *trace.Tracer) { c.Publish.Trace = t })
}
