package cli

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the API keys."`
	Create keysCreateCmd `cmd:"" help:"Create an API key; it is shown this once."`
	Delete keysDeleteCmd `cmd:"" help:"Delete an API key; it is refused from then on."`
}

// apiKey is a key as the REST API shows it.
type apiKey struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Prefix    string     `json:"prefix"`
	Tenant    *string    `json:"tenant"` // null: a platform key
	Scopes    []string   `json:"scopes"`
	Key       string     `json:"key,omitempty"` // in the answer to its creation only
	CreatedAt *time.Time `json:"created_at,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	LastUsed  *time.Time `json:"last_used_at,omitempty"`
}

func (k apiKey) owner() string {
	if k.Tenant == nil {
		return "(platform)"
	}
	return *k.Tenant
}

type keysListCmd struct {
	listed   `embed:""`
	Platform bool `help:"The platform's own keys, not a tenant's."`
}

// Run prints a table of the keys.
func (c *keysListCmd) Run(ctx context.Context, streams IO) error {
	query := url.Values{}
	if c.Platform {
		query.Set("platform", "true")
	}
	return printList(ctx, c.listed, streams, "api-keys", query, math.MaxInt,
		column[apiKey]{"ID", func(k apiKey) string { return k.ID }},
		column[apiKey]{"KEY", func(k apiKey) string { return k.Prefix + "..." }},
		column[apiKey]{"NAME", func(k apiKey) string { return k.Name }},
		column[apiKey]{"TENANT", apiKey.owner},
		column[apiKey]{"SCOPES", func(k apiKey) string { return strings.Join(k.Scopes, ",") }},
		column[apiKey]{"CREATED", func(k apiKey) string { return when(k.CreatedAt) }},
		column[apiKey]{"EXPIRES", func(k apiKey) string { return when(k.ExpiresAt) }},
		column[apiKey]{"LAST USED", func(k apiKey) string { return when(k.LastUsed) }})
}

type keysCreateCmd struct {
	rest      `embed:""`
	Name      string     `required:"" help:"What the key is for."`
	Scopes    []string   `name:"scope" required:"" placeholder:"SCOPE" help:"What it may do, again for more: events, webhooks, webhooks:read, deliveries, deliveries:read, admin."`
	Platform  bool       `help:"Let it act for any tenant. Only a platform key can make one."`
	ExpiresAt *time.Time `placeholder:"TIME" help:"When it ends, RFC 3339. Empty: never."`
}

// Run creates a key and prints it.
func (c *keysCreateCmd) Run(ctx context.Context, streams IO) error {
	for _, s := range c.Scopes {
		if !validScope(s) {
			return usageError{fmt.Errorf("--scope %q: want one of %s", s, scopeNames())}
		}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	body := map[string]any{"name": c.Name, "scopes": c.Scopes}
	put(body, "expires_at", c.ExpiresAt)
	if c.Platform {
		body["platform"] = true
	}
	var k apiKey
	if _, err := cl.Do(ctx, http.MethodPost, "api-keys", nil, body, &k); err != nil {
		return err
	}
	if done, err := c.Output.json(streams.Out, k); done {
		return err
	}
	return list(streams.Out, [2]string{"key", k.Key}, [2]string{"id", k.ID}, [2]string{"name", k.Name},
		[2]string{"tenant", k.owner()}, [2]string{"scopes", strings.Join(k.Scopes, ", ")},
		[2]string{"", "The key is not shown again."})
}

func validScope(s string) bool {
	for _, known := range tenant.Scopes() {
		if s == string(known) {
			return true
		}
	}
	return false
}

func scopeNames() string {
	var names []string
	for _, s := range tenant.Scopes() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

type keysDeleteCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The key's id."`
}

// Run deletes a key.
func (c *keysDeleteCmd) Run(ctx context.Context, streams IO) error {
	return remove(ctx, c.rest, streams, "api-keys/"+url.PathEscape(c.ID), c.ID)
}
