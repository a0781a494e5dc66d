package app

import (
	"fmt"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// Egress is what webhooks may target beyond https to public addresses.
type Egress struct {
	AllowNetworks []string `name:"allow-networks" env:"DOORSTEP_ALLOW_NETWORKS" placeholder:"CIDR" help:"Networks that webhooks may target although they are not public, comma separated, e.g. 127.0.0.0/8."`
	AllowHTTP     bool     `name:"allow-http" env:"DOORSTEP_ALLOW_HTTP" help:"Let webhooks target plain http as well as https."`
}

// Policy is the settings as the services take them.
func (e Egress) Policy() (egress.Policy, error) {
	networks, err := egress.ParseNetworks(strings.Join(e.AllowNetworks, ","))
	if err != nil {
		return egress.Policy{}, fmt.Errorf("allow-networks: %w", err)
	}
	return egress.Policy{AllowNetworks: networks, AllowHTTP: e.AllowHTTP}, nil
}
