package ingest_test

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpccreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// publishOver publishes one event over a connection of its own.
func publishOver(t *testing.T, addr string, transport grpccreds.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+acmeKey), 10*time.Second)
	defer cancel()
	_, err = pb.NewIngestServiceClient(conn).Publish(ctx, &pb.PublishRequest{Event: &pb.Event{Type: "card.updated"}})
	return err
}

func clientTLS(t *testing.T, of credentials.TLS) grpccreds.TransportCredentials {
	t.Helper()
	config, err := of.Config()
	if err != nil {
		t.Fatal(err)
	}
	return grpccreds.NewTLS(config)
}

func TestTLS(t *testing.T) {
	b := newBroker(t)
	ca, other := testkit.NewCA(t), testkit.NewCA(t)
	cfg := b.config()
	cfg.TLS.CertFile, cfg.TLS.KeyFile = ca.Server(t)
	open := runReady(t, cfg)
	cfg.ClientCAFile = ca.File
	mutual := runReady(t, cfg)
	certFile, keyFile := ca.Client(t, "producer")
	strangeCert, strangeKey := other.Client(t, "stranger")
	for name, tt := range map[string]struct {
		to   *service
		with grpccreds.TransportCredentials
		want string // in the error; empty: it is published
	}{
		"with the authority":            {open, clientTLS(t, credentials.TLS{CAFile: ca.File}), ""},
		"without TLS":                   {open, insecure.NewCredentials(), "this address speaks TLS"},
		"that trusts others":            {open, clientTLS(t, credentials.TLS{CAFile: other.File}), "certificate signed by unknown authority"},
		"with TLS 1.1":                  {open, grpccreds.NewTLS(&tls.Config{RootCAs: ca.Pool(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}), "version"}, //nolint:gosec // to be refused
		"mutual":                        {mutual, clientTLS(t, credentials.TLS{CAFile: ca.File, CertFile: certFile, KeyFile: keyFile}), ""},
		"mutual, without a certificate": {mutual, clientTLS(t, credentials.TLS{CAFile: ca.File}), "Unavailable"},
		"mutual, with a stranger's":     {mutual, clientTLS(t, credentials.TLS{CAFile: ca.File, CertFile: strangeCert, KeyFile: strangeKey}), "Unavailable"},
		"mutual, without TLS":           {mutual, insecure.NewCredentials(), "this address speaks TLS"},
	} {
		err := publishOver(t, tt.to.Addr(), tt.with)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("a client %s: %v, want %q", name, err, tt.want)
		}
	}
}
