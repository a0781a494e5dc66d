package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
)

// Limits of a batch; the contract names them.
const (
	MaxBatchEvents = 1000
	MaxBatchBytes  = 8 << 20
)

// Config is what ingest can be told.
type Config struct {
	Kafka kafka.Config `kong:"-"`
	// Room errs while there is no room for more events; nil: there always is.
	Room func() error `kong:"-"`

	TLS credentials.ServerTLS `kong:"-"` // of all listeners

	Addr           string                  `name:"grpc" env:"DOORSTEP_GRPC_ADDR" default:":8081" placeholder:"HOST:PORT" help:"Where producers publish events over gRPC."`
	OwnTLS         credentials.ListenerTLS `embed:"" prefix:"grpc-" envprefix:"DOORSTEP_GRPC_"`
	ClientCAFile   string                  `name:"tls-client-ca-file" env:"DOORSTEP_TLS_CLIENT_CA_FILE" type:"path" placeholder:"FILE" help:"Producers must show a certificate that an authority of this file, PEM, has signed, beside their API key (mutual TLS, gRPC only; the health service is behind it too). Read again when it changes. Empty: they need none."`
	Publish        publish.Config          `embed:"" prefix:"ingest-" envprefix:"DOORSTEP_INGEST_"`
	StreamInFlight int                     `name:"ingest-stream-in-flight" env:"DOORSTEP_INGEST_STREAM_IN_FLIGHT" default:"1024" help:"Events of one stream that may be unacknowledged at once; the stream waits then."`
	DrainTimeout   time.Duration           `name:"ingest-drain" env:"DOORSTEP_INGEST_DRAIN" default:"10s" help:"How long calls under way may take when ingest stops."`
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	switch {
	case c.Addr == "":
		return errors.New("grpc: an address host:port is required")
	case c.StreamInFlight < 1 || c.StreamInFlight > c.Publish.MaxInFlight:
		return fmt.Errorf("ingest-stream-in-flight: is %d, must be 1 to ingest-in-flight, %d", c.StreamInFlight, c.Publish.MaxInFlight)
	case c.DrainTimeout <= 0:
		return fmt.Errorf("ingest-drain: is %s, must be above 0", c.DrainTimeout)
	}
	if err := c.Publish.Validate(); err != nil {
		return fmt.Errorf("ingest-%w", err)
	}
	if _, err := c.serving(); err != nil {
		return err
	}
	return c.Kafka.Validate()
}

// serving is the listener's TLS.
func (c Config) serving() (credentials.Serving, error) {
	return c.TLS.Of("grpc", c.OwnTLS, c.ClientCAFile)
}
