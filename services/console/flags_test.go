package console_test

import (
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/doorstep-dev/doorstep/services/console"
)

func TestFlags(t *testing.T) {
	t.Setenv("DOORSTEP_CONSOLE_IN_FLIGHT", "77")
	t.Setenv("DOORSTEP_BOOTSTRAP_KEY", bootKey)
	type flags console.Config // without Validate, which kong would call before the rest is known
	var cfg flags
	parser, err := kong.New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--http", ":0", "--console-publish-timeout", "3s"}); err != nil {
		t.Fatal(err)
	}
	if cfg.HTTP != ":0" || cfg.BootstrapKey != bootKey || cfg.Publish.MaxInFlight != 77 || cfg.Publish.Timeout != 3*time.Second {
		t.Errorf("settings: %s, %d, %s", cfg.HTTP, cfg.Publish.MaxInFlight, cfg.Publish.Timeout)
	}
	if err := cfg.Publish.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}
