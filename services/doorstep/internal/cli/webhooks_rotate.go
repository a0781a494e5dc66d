package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxOverlap is the API's limit.
const maxOverlap = 7 * 24 * time.Hour

type webhooksRotateCmd struct {
	rest       `embed:""`
	Scheme     string        `enum:"v1,v1a" default:"v1" placeholder:"SCHEME" help:"v1: the secret. v1a: the ed25519 key pair, which is made if there is none."`
	SecretFile string        `placeholder:"FILE" help:"A file with the new secret, whsec_... ('-': stdin). Not given: one is generated."`
	Overlap    time.Duration `default:"24h" placeholder:"DURATION" help:"For how long the former ones sign too, up to 168h; 0s: they end at once."`
	ID         string        `arg:"" help:"The webhook's id."`
}

// Run replaces a webhook's secret, prints the webhook with the new one, and says for how long the former signs.
func (c *webhooksRotateCmd) Run(ctx context.Context, streams IO) error {
	body, err := c.body(streams.In)
	if err != nil {
		return err
	}
	return show(ctx, c.rest, streams, http.MethodPost, "webhooks/"+url.PathEscape(c.ID)+"/rotate-secret", body, func(w io.Writer, h hook) error {
		if err := printHook(w, h); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, "\n"+c.advice(h))
		return err
	})
}

func (c *webhooksRotateCmd) body(in io.Reader) (map[string]any, error) {
	if c.Overlap < 0 || c.Overlap > maxOverlap || c.Overlap%time.Second != 0 {
		return nil, usageError{fmt.Errorf("--overlap %s: want whole seconds, up to %.0fh", c.Overlap, maxOverlap.Hours())}
	}
	body := map[string]any{"scheme": c.Scheme, "overlap_seconds": int64(c.Overlap / time.Second)}
	if c.SecretFile == "" {
		return body, nil
	}
	b, err := readFile(c.SecretFile, in)
	if err != nil {
		return nil, err
	}
	secret := string(bytes.TrimSpace(b))
	if secret == "" {
		return nil, usageError{fmt.Errorf("--secret-file %s: holds no secret", c.SecretFile)}
	}
	body["secret"] = secret
	return body, nil
}

// advice is what to do next.
func (c *webhooksRotateCmd) advice(h hook) string {
	former, what, give := "The former", "secret", "the new secret"
	if c.Scheme == "v1a" {
		former, what, give = "A former", "key pair", "the new public key" // it may be the first
	}
	if c.Overlap == 0 || h.UpdatedAt == nil {
		return fmt.Sprintf("No former %s signs any more: the receiver needs %s now.", what, give)
	}
	end := h.UpdatedAt.Add(c.Overlap)
	return fmt.Sprintf("%s %s signs too until %s: give the receiver %s before.", former, what, when(&end), give)
}
