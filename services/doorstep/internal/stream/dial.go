package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Config says where gRPC answers. The key and tenant are those of the REST client.
type Config struct {
	Address string `name:"grpc" env:"DOORSTEP_GRPC" default:"127.0.0.1:8081" placeholder:"HOST:PORT" help:"Where Doorstep takes events in over gRPC; https://host:port for TLS."`
}

// Dial prepares a connection that carries the key and, unless empty, the tenant with every call.
// Nothing is connected before the first call.
func Dial(cfg Config, key, tenant string) (*grpc.ClientConn, error) {
	if key == "" {
		return nil, errors.New("no API key: set DOORSTEP_KEY (a first `doorstep up` prints one)")
	}
	address, secure := strings.CutPrefix(cfg.Address, "https://")
	transport := insecure.NewCredentials()
	if secure {
		transport = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	conn, err := grpc.NewClient(strings.TrimPrefix(address, "http://"),
		grpc.WithTransportCredentials(transport), grpc.WithPerRPCCredentials(caller{key, tenant}))
	if err != nil {
		return nil, fmt.Errorf("--grpc %q: want host:port: %w", cfg.Address, err)
	}
	return conn, nil
}

// caller is the metadata of every call.
type caller struct{ key, tenant string }

func (c caller) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	md := map[string]string{"authorization": "Bearer " + c.key}
	if c.tenant != "" {
		md["doorstep-tenant"] = c.tenant
	}
	return md, nil
}

// RequireTransportSecurity is false: inside a cluster and on one machine gRPC is often plain.
func (caller) RequireTransportSecurity() bool { return false }
