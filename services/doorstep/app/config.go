package app

import (
	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/services/console"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/settings"
	"github.com/doorstep-dev/doorstep/services/ingest"
	"github.com/doorstep-dev/doorstep/services/matcher"
	"github.com/doorstep-dev/doorstep/services/notifier"
	"github.com/doorstep-dev/doorstep/services/recorder"
	"github.com/doorstep-dev/doorstep/services/sender"
)

// Config is the settings of everything. A store without an address is embedded.
type Config struct {
	// Dir is the data directory of the embedded log and database.
	Dir string
	// LogMaxBytes bounds the embedded log on disk; LogSync writes each record through to the disk
	// before it is acknowledged.
	LogMaxBytes int64
	LogSync     bool

	Kafka    kafka.Config      // Brokers empty: embedded
	Redis    redisstate.Config // URL empty: embedded
	SQL      sqldb.Config      // PostgresURL empty: SQLite in Dir
	Mail     mail.Config       // URL empty: mails are kept
	Egress   egress.Policy
	Sealing  credentials.SealingKeys // none: secrets are stored as they are
	TLS      credentials.ServerTLS   // of both listeners; none: they are plain
	Instance string

	// The services' own settings; what they share (stores, egress, instance, room) is put in by New.
	Ingest   ingest.Config
	Matcher  matcher.Config
	Sender   sender.Config
	Recorder recorder.Config
	Notifier notifier.Config
	Console  console.Config

	history sqldb.Config // SQL, or the embedded file of the history
}

// Default is the settings of `doorstep up` in dir where nobody says anything but the environment
// (DOORSTEP_*), on any free ports of loopback: for tests that run the whole.
func Default(dir string) (Config, error) {
	s, err := settings.Defaults()
	if err != nil {
		return Config{}, err
	}
	cfg, err := Of(s)
	cfg.Dir, cfg.Console.HTTP, cfg.Ingest.Addr = dir, "127.0.0.1:0", "127.0.0.1:0"
	return cfg, err
}

// Of takes settings as they were parsed.
func Of(s settings.Services) (Config, error) {
	policy, err := s.Egress.Policy()
	if err != nil {
		return Config{}, err
	}
	return Config{
		Kafka: kafka.Config(s.Kafka), Redis: redisstate.Config(s.Redis), SQL: sqldb.Config(s.SQL),
		Mail: mail.Config(s.Mail), Egress: policy, Sealing: credentials.SealingKeys(s.Sealing), TLS: credentials.ServerTLS(s.TLS), Instance: s.Instance.Name,
		Ingest: ingest.Config(s.Ingest), Matcher: matcher.Config(s.Matcher), Sender: sender.Config(s.Sender),
		Recorder: recorder.Config(s.Recorder), Notifier: notifier.Config(s.Notifier), Console: console.Config(s.Console),
	}, nil
}
