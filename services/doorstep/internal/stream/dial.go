package stream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/doorstep-dev/doorstep/proto/producer"
)

// Config says where gRPC answers. The key and tenant are those of the REST client.
type Config struct {
	Address string `name:"grpc" env:"DOORSTEP_GRPC" default:"127.0.0.1:8081" placeholder:"HOST:PORT" help:"Where Doorstep takes events in over gRPC; https://host:port for TLS."`
}

// Dial prepares a client that carries the key and, unless empty, the tenant with every call.
// Nothing is connected before the first call. secure is for an address that begins with https://; nil: TLS that trusts
// whom the system does. Inside a cluster and on one machine gRPC is often plain, so other addresses are.
func Dial(cfg Config, secure *tls.Config, key, tenant string) (*producer.Client, error) {
	if key == "" {
		return nil, errors.New("no API key: set DOORSTEP_KEY (a first `doorstep up` prints one)")
	}
	o := producer.Options{Key: key, Tenant: tenant, TLS: secure}
	if !strings.HasPrefix(cfg.Address, "https://") {
		o.Plain, o.TLS = true, nil
	}
	client, err := producer.New(cfg.Address, o)
	if err != nil {
		return nil, fmt.Errorf("--grpc: %w", err)
	}
	return client, nil
}
