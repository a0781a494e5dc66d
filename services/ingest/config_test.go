package ingest_test

import (
	"testing"

	"github.com/alecthomas/kong"

	"github.com/doorstep-dev/doorstep/services/ingest"
)

// settings is a Config without Validate, which kong would call before the brokers are known.
type settings ingest.Config

func parse(t *testing.T, args ...string) ingest.Config {
	t.Helper()
	var parsed settings
	parser, err := kong.New(&parsed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg := ingest.Config(parsed)
	cfg.Kafka.Brokers, cfg.Kafka.RetryTiers = []string{"localhost:9092"}, "1m"
	return cfg
}

func TestDefaultsAreValid(t *testing.T) {
	cfg := parse(t)
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if cfg.Addr != ":8081" || cfg.Publish.Timeout.Seconds() != 5 {
		t.Errorf("defaults: %+v", cfg)
	}
}

func TestSettingsByFlagAndVariable(t *testing.T) {
	t.Setenv("DOORSTEP_GRPC_ADDR", "127.0.0.1:7")
	t.Setenv("DOORSTEP_INGEST_IN_FLIGHT", "2000")
	cfg := parse(t, "--ingest-stream-in-flight=7", "--ingest-in-flight-bytes=2000000", "--ingest-publish-timeout=2s", "--ingest-drain=3s")
	if cfg.Addr != "127.0.0.1:7" || cfg.Publish.MaxInFlight != 2000 || cfg.StreamInFlight != 7 || cfg.Publish.MaxInFlightBytes != 2000000 ||
		cfg.Publish.Timeout.Seconds() != 2 || cfg.DrainTimeout.Seconds() != 3 {
		t.Errorf("settings: %+v", cfg)
	}
}
