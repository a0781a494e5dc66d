package tenant_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func TestCheck(t *testing.T) {
	policy := func(change func(*tenant.Policy)) func(*tenant.Tenant) {
		return func(t *tenant.Tenant) { change(&t.Policy) }
	}
	for name, tt := range map[string]struct {
		change func(*tenant.Tenant)
		want   string // the field at fault; empty: none
	}{
		"only what is required":    {func(*tenant.Tenant) {}, ""},
		"no id":                    {func(t *tenant.Tenant) { t.ID = "" }, "id"},
		"an id with a capital":     {func(t *tenant.Tenant) { t.ID = "Acme" }, "id"},
		"the longest id":           {func(t *tenant.Tenant) { t.ID = strings.Repeat("a", 64) }, ""},
		"a longer id":              {func(t *tenant.Tenant) { t.ID = strings.Repeat("a", 65) }, "id"},
		"no name":                  {func(t *tenant.Tenant) { t.Name = "" }, ""},
		"the longest name":         {func(t *tenant.Tenant) { t.Name = strings.Repeat("ä", 150) }, ""},
		"a longer name":            {func(t *tenant.Tenant) { t.Name = strings.Repeat("ä", 151) }, "name"},
		"a name that is no text":   {func(t *tenant.Tenant) { t.Name = "\xff" }, "name"},
		"a format that is none":    {func(t *tenant.Tenant) { t.Payload.Format = "xml" }, "payload.format"},
		"a path that is none":      {func(t *tenant.Tenant) { t.Payload.Exclude = &[]string{"a..b"} }, "payload.exclude"},
		"a feature on and off":     {func(t *tenant.Tenant) { t.Features = map[string]bool{"webhooks": false} }, ""},
		"a feature that is none":   {func(t *tenant.Tenant) { t.Features = map[string]bool{"webhook": true} }, "features.webhook"},
		"a payload":                {func(t *tenant.Tenant) { t.Payload.Format = webhook.FormatThin }, ""},
		"the lowest thresholds":    {policy(func(p *tenant.Policy) { p.WarnAfter, p.DisableAfter = new(1), new(2) }), ""},
		"the highest":              {policy(func(p *tenant.Policy) { p.WarnAfter, p.DisableAfter = new(999_999), new(1_000_000) }), ""},
		"no warning":               {policy(func(p *tenant.Policy) { p.WarnAfter = new(0) }), "policy.warn_after"},
		"a warning too late":       {policy(func(p *tenant.Policy) { p.WarnAfter, p.DisableAfter = new(5), new(5) }), "policy.warn_after"},
		"the installation's other": {policy(func(p *tenant.Policy) { p.WarnAfter = new(5000) }), ""},
		"disabled at once":         {policy(func(p *tenant.Policy) { p.DisableAfter = new(0) }), "policy.disable_after"},
		"never disabled":           {policy(func(p *tenant.Policy) { p.DisableAfter = new(1_000_001) }), "policy.disable_after"},
		"one webhook per event":    {policy(func(p *tenant.Policy) { p.MaxWebhooksPerEvent = new(1) }), ""},
		"most webhooks per event":  {policy(func(p *tenant.Policy) { p.MaxWebhooksPerEvent = new(10_000) }), ""},
		"no webhook per event":     {policy(func(p *tenant.Policy) { p.MaxWebhooksPerEvent = new(0) }), "policy.max_webhooks_per_event"},
		"too many per event":       {policy(func(p *tenant.Policy) { p.MaxWebhooksPerEvent = new(10_001) }), "policy.max_webhooks_per_event"},
		"no retries":               {policy(func(p *tenant.Policy) { p.RetryCount = new(0) }), ""},
		"most retries":             {policy(func(p *tenant.Policy) { p.RetryCount = new(12) }), ""},
		"less than none":           {policy(func(p *tenant.Policy) { p.RetryCount = new(-1) }), "policy.retry_count"},
		"one too many":             {policy(func(p *tenant.Policy) { p.RetryCount = new(13) }), "policy.retry_count"},
		"a second":                 {policy(func(p *tenant.Policy) { p.Timeout = new(time.Second) }), ""},
		"30 seconds":               {policy(func(p *tenant.Policy) { p.Timeout = new(30 * time.Second) }), ""},
		"31 seconds":               {policy(func(p *tenant.Policy) { p.Timeout = new(31 * time.Second) }), "policy.timeout_seconds"},
		"no time":                  {policy(func(p *tenant.Policy) { p.Timeout = new(time.Duration(0)) }), "policy.timeout_seconds"},
		"reactivation by any":      {policy(func(p *tenant.Policy) { p.Reactivation = "any" }), ""},
		"reactivation by nobody":   {policy(func(p *tenant.Policy) { p.Reactivation = "nobody" }), "policy.reactivation"},
		"answers are not kept":     {policy(func(p *tenant.Policy) { p.KeepAnswers = new(false) }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			of := tenant.Tenant{ID: "acme", Name: "Acme"}
			tt.change(&of)
			got, want := []string{}, []string{}
			if tt.want != "" {
				want = append(want, tt.want)
			}
			for _, f := range of.Check() {
				got = append(got, f.Name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("fields at fault (-want +got): %s", diff)
			}
		})
	}
}
