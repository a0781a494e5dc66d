// Package settings holds the settings of all parts as kong takes them.
//
// They are the parts' own Config types without their methods: kong would call Validate on each as it
// is parsed, before what it shares with others (such as the embedded log's address) is put in.
package settings

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/services/console"
	"github.com/doorstep-dev/doorstep/services/ingest"
	"github.com/doorstep-dev/doorstep/services/matcher"
	"github.com/doorstep-dev/doorstep/services/notifier"
	"github.com/doorstep-dev/doorstep/services/recorder"
	"github.com/doorstep-dev/doorstep/services/sender"
)

type (
	// Kafka is the log.
	Kafka kafka.Config
	// Redis is where failure states and duplicates are kept.
	Redis redisstate.Config
	// SQL is where webhooks and keys are kept.
	SQL sqldb.Config
	// Ingest takes events in.
	Ingest ingest.Config
	// Matcher makes deliveries of events.
	Matcher matcher.Config
	// Sender makes POSTs of deliveries.
	Sender sender.Config
	// Recorder keeps the history.
	Recorder recorder.Config
	// Notifier mails notices to administrators.
	Notifier notifier.Config
	// Mail is the mail server.
	Mail mail.Config
	// Console is the REST API.
	Console console.Config
	// Sealing is the keys that seal secrets.
	Sealing credentials.SealingKeys
	// TLS is what all listeners show.
	TLS credentials.ServerTLS
)

// Egress is what webhooks may target beyond https to public addresses.
type Egress struct {
	AllowNetworks []string `name:"allow-networks" env:"DOORSTEP_ALLOW_NETWORKS" placeholder:"CIDR" help:"Networks that webhooks may target although they are not public, comma separated, e.g. 127.0.0.0/8."`
	AllowHTTP     bool     `name:"allow-http" env:"DOORSTEP_ALLOW_HTTP" help:"Let webhooks target plain http as well as https."`
}

// Policy is what the services take.
func (e Egress) Policy() (egress.Policy, error) {
	networks, err := egress.ParseNetworks(strings.Join(e.AllowNetworks, ","))
	if err != nil {
		return egress.Policy{}, fmt.Errorf("--allow-networks: %w", err)
	}
	return egress.Policy{AllowNetworks: networks, AllowHTTP: e.AllowHTTP}, nil
}

// Instance names one of several processes of a service.
type Instance struct {
	Name string `name:"instance" env:"DOORSTEP_INSTANCE" placeholder:"NAME" help:"A name for this process that stays the same when it is restarted and that no other has, e.g. the pod's of a StatefulSet: it takes its partitions back at once. Empty: the host name for transactions, no fixed seat in groups."`
}

// Services are the settings of all services and stores together: those of `doorstep up`.
type Services struct {
	Console  Console  `embed:""`
	Ingest   Ingest   `embed:""`
	Matcher  Matcher  `embed:""`
	Sender   Sender   `embed:""`
	Recorder Recorder `embed:""`
	Notifier Notifier `embed:""`
	Mail     Mail     `embed:""`
	Egress   Egress   `embed:""`
	Sealing  Sealing  `embed:""`
	TLS      TLS      `embed:""`
	Kafka    Kafka    `embed:""`
	Redis    Redis    `embed:""`
	SQL      SQL      `embed:""`
	Instance Instance `embed:""`
}

// Defaults are the settings where nobody says anything but the environment.
func Defaults() (Services, error) {
	var s Services
	if err := kong.ApplyDefaults(&s); err != nil {
		return Services{}, fmt.Errorf("default settings: %w", err)
	}
	return s, nil
}
