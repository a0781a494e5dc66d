package console

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// Config is what a console needs to know.
type Config struct {
	Kafka kafka.Config `kong:"-"`
	SQL   sqldb.Config `kong:"-"`
	// History is where the recorder keeps what has happened. The zero value: it is kept nowhere, and the
	// routes that read it answer 503.
	History sqldb.Config            `kong:"-"`
	Egress  egress.Policy           `kong:"-"` // which URLs may be registered
	Sealing credentials.SealingKeys `kong:"-"` // seal webhooks' secrets; none: they are stored as they are

	HTTP         string                  `name:"http" env:"DOORSTEP_HTTP_ADDR" default:":8080" help:"Address of the REST API, host:port."`
	OwnTLS       credentials.ListenerTLS `embed:"" prefix:"http-" envprefix:"DOORSTEP_HTTP_"`
	BootstrapKey string                  `name:"bootstrap-key" env:"DOORSTEP_BOOTSTRAP_KEY" help:"Platform API key with every scope, made at the first start, at least 20 characters. Empty: one is generated. Prefer the environment: a flag can be seen by other users of the machine."`

	TLS credentials.ServerTLS `kong:"-"` // of all listeners

	// PublicURL is where people reach the console, e.g. https://hooks.example.com. Empty: links are without
	// a host. If it is https, cookies are sent over https only.
	PublicURL string `kong:"-"`

	// Redis is where requests are counted for all consoles together. The zero value: each counts by itself.
	Redis     redisstate.Config `kong:"-"`
	RateLimit int               `name:"console-rate-limit" env:"DOORSTEP_CONSOLE_RATE_LIMIT" default:"6000" help:"Requests a minute that one API key may make; 0: any number. Beside it, 60 a minute from one address without a valid key."`
	RateBurst int               `name:"console-rate-burst" env:"DOORSTEP_CONSOLE_RATE_BURST" default:"600" help:"How many of them at once."`

	AuditKeep time.Duration `name:"audit-keep" env:"DOORSTEP_AUDIT_KEEP" default:"8760h" help:"For how long the audit log keeps who changed what, e.g. 8760h, a year."`

	Publish publish.Config `embed:"" prefix:"console-" envprefix:"DOORSTEP_CONSOLE_"` // of events that come over REST

	// Room errs while no more events may be taken, e.g. for want of disk. Nil: there is room.
	Room func() error `kong:"-"`
	// Mount adds routes to the console's address, e.g. /healthz.
	Mount func(*http.ServeMux) `kong:"-"`
	// FirstKey is given the platform key that was generated at the first start. It is the only time
	// that the key is known; only its hash is stored.
	FirstKey func(key string) `kong:"-"`
}

// minBootstrapKey is about 100 bits of a key that someone typed at random.
const minBootstrapKey = 20

// maxRateLimit is a request each microsecond, which is as fine as it is counted.
const maxRateLimit = 60_000_000

// minAuditKeep is what the audit log keeps at least: what nobody has looked at yet must not go.
const minAuditKeep = 24 * time.Hour

// minConnections to PostgreSQL: one for each lock, and one for all else.
const minConnections = 5

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	errs := []error{c.Kafka.Validate(), c.SQL.Validate(), c.Publish.Validate(), c.Sealing.Validate()}
	if c.History.PostgresURL != "" || c.History.SQLitePath != "" {
		errs = append(errs, c.History.Validate())
	}
	if n := c.SQL.MaxConnections; c.SQL.PostgresURL != "" && n != 0 && n < minConnections {
		errs = append(errs, fmt.Errorf("postgres-max-connections: a console needs at least %d: four may hold locks (outbox, jobs, expiry, reseal)", minConnections))
	}
	if c.HTTP == "" {
		errs = append(errs, errors.New("http: a host:port is required"))
	}
	if c.RateLimit < 0 || c.RateLimit > maxRateLimit {
		errs = append(errs, fmt.Errorf("console-rate-limit: must be 0 to %d", maxRateLimit))
	}
	if c.RateLimit > 0 && (c.RateBurst < 1 || c.RateBurst > maxRateLimit) {
		errs = append(errs, fmt.Errorf("console-rate-burst: must be 1 to %d", maxRateLimit))
	}
	if c.AuditKeep < minAuditKeep {
		errs = append(errs, fmt.Errorf("audit-keep: %s is below %s", c.AuditKeep, minAuditKeep))
	}
	if !c.validPublicURL() {
		errs = append(errs, errors.New("console-url: must be http:// or https:// and a host, without a path"))
	}
	if k := c.BootstrapKey; k != "" && (len(k) < minBootstrapKey || len(k) > 256 || strings.ContainsAny(k, " \t\r\n")) {
		errs = append(errs, errors.New("bootstrap-key: must have 20 to 256 characters without spaces"))
	}
	_, err := c.Serving()
	return errors.Join(append(errs, err)...)
}

// Serving is the listener's TLS.
func (c Config) Serving() (credentials.Serving, error) { return c.TLS.Of("http", c.OwnTLS, "") }

// origin is where people reach the console, as browsers write it; empty: not known.
func (c Config) origin() string { return strings.TrimSuffix(c.PublicURL, "/") }

// validPublicURL reports whether there is none, or it is an origin: the pages link to one another from the root.
func (c Config) validPublicURL() bool {
	u, err := url.Parse(c.origin())
	return c.origin() == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && c.origin() == u.Scheme+"://"+u.Host
}
