package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
)

type profileCmd struct {
	List   profileListCmd   `cmd:"" help:"List the profiles that come with Doorstep."`
	Show   profileShowCmd   `cmd:"" help:"Print a profile that comes with Doorstep, as YAML."`
	Apply  profileApplyCmd  `cmd:"" help:"Give the tenant a profile's event types, policy and payload; its own event types stay."`
	Remove profileRemoveCmd `cmd:"" help:"Take back from the tenant what the profile brought; its own event types stay."`
	Export profileExportCmd `cmd:"" help:"Print the tenant's event types, policy and payload as a profile, as YAML."`
}

type profileListCmd struct {
	rest `embed:""`
}

// Run prints a table of the profiles.
func (c *profileListCmd) Run(ctx context.Context, streams IO) error {
	type profile struct {
		Profile     string `json:"profile"`
		Description string `json:"description"`
		EventTypes  int    `json:"event_types"`
		Applied     bool   `json:"applied"`
	}
	return show(ctx, c.rest, streams, http.MethodGet, "profiles", nil, func(w io.Writer, profiles []profile) error {
		rows := make([][]string, len(profiles))
		for i, p := range profiles {
			applied := ""
			if p.Applied {
				applied = "applied"
			}
			rows[i] = []string{p.Profile, strconv.Itoa(p.EventTypes), applied, p.Description}
		}
		return table(w, []string{"PROFILE", "EVENT TYPES", "", "DESCRIPTION"}, rows)
	})
}

type profileShowCmd struct {
	rest    `embed:""`
	Profile string `arg:"" help:"vplan, plandocket or planmill."`
}

// Run prints a profile.
func (c *profileShowCmd) Run(ctx context.Context, streams IO) error {
	return printYAML(ctx, c.rest, streams, "profiles/"+url.PathEscape(c.Profile), nil)
}

type profileExportCmd struct {
	rest `embed:""`
	Name string `arg:"" help:"What the profile is to be called; not as one that comes with Doorstep."`
}

// Run prints the tenant's catalogue as a profile.
func (c *profileExportCmd) Run(ctx context.Context, streams IO) error {
	return printYAML(ctx, c.rest, streams, "event-types", url.Values{"profile": {c.Name}})
}

type profileRemoveCmd struct {
	rest    `embed:""`
	Profile string `arg:"" help:"The profile that is applied to the tenant."`
}

// Run takes the profile back.
func (c *profileRemoveCmd) Run(ctx context.Context, streams IO) error {
	return remove(ctx, c.rest, streams, "profiles/"+url.PathEscape(c.Profile), c.Profile)
}

// printYAML prints what the API has as YAML, or that as JSON.
func printYAML(ctx context.Context, r rest, streams IO, path string, query url.Values) error {
	cl, err := r.client()
	if err != nil {
		return err
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("format", "yaml")
	document, err := cl.Document(ctx, path, query)
	if err != nil {
		return err
	}
	if r.Output.Format == "json" {
		text, err := catalogue.FromYAML(document)
		if err != nil {
			return fmt.Errorf("%s: the answer %w", path, err)
		}
		_, err = r.Output.json(streams.Out, json.RawMessage(text))
		return err
	}
	_, err = streams.Out.Write(document)
	return err
}

// readYAML is a file of YAML or JSON as JSON.
func readYAML(name string, in io.Reader) (json.RawMessage, error) {
	document, err := readFile(name, in)
	if err != nil {
		return nil, err
	}
	text, err := catalogue.FromYAML(document)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

type profileApplyCmd struct {
	rest    `embed:""`
	Profile string `arg:"" help:"vplan, plandocket, planmill, or a file of YAML or JSON; - is stdin."`
}

// appliedProfile is what applying a profile did.
type appliedProfile struct {
	Profile  string   `json:"profile"`
	Tenant   string   `json:"tenant"`
	Added    []string `json:"added"`
	Changed  []string `json:"changed"`
	Removed  []string `json:"removed"`
	Kept     []string `json:"kept"`
	Webhooks []struct {
		ID         string   `json:"id"`
		Name       string   `json:"name"`
		EventTypes []string `json:"event_types"`
	} `json:"webhooks"`
}

// Run applies a profile and prints what that did.
func (c *profileApplyCmd) Run(ctx context.Context, streams IO) error {
	var body any = map[string]string{"profile": c.Profile}
	if !slices.Contains(catalogue.Shipped(), c.Profile) {
		document, err := readYAML(c.Profile, streams.In)
		if err != nil {
			return err
		}
		body = document
	}
	return show(ctx, c.rest, streams, http.MethodPost, "profiles", body, printApplied)
}

func printApplied(w io.Writer, a appliedProfile) error {
	_, err := fmt.Fprintf(w, "applied %s to %s: event types added %d, changed %d, removed %d\n",
		printable(a.Profile), printable(a.Tenant), len(a.Added), len(a.Changed), len(a.Removed))
	if err == nil && len(a.Kept) > 0 {
		_, err = fmt.Fprintf(w, "kept as the tenant has them: %s\n", printable(strings.Join(a.Kept, ", ")))
	}
	for _, h := range a.Webhooks {
		if err == nil {
			_, err = fmt.Fprintf(w, "webhook %s wants what is not in the catalogue: %s\n", printable(h.ID), printable(strings.Join(h.EventTypes, ", ")))
		}
	}
	return err
}
