package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type eventTypesCmd struct {
	List   eventTypesListCmd   `cmd:"" help:"List the tenant's event types."`
	Show   eventTypesShowCmd   `cmd:"" help:"Show an event type with its schema and example."`
	Apply  eventTypesApplyCmd  `cmd:"" help:"Add or replace the event types of a file; others stay."`
	Delete eventTypesDeleteCmd `cmd:"" help:"Take an event type out of the catalogue."`
	Export eventTypesExportCmd `cmd:"" help:"Print the tenant's event types as YAML, which apply reads."`
}

// eventType is what tables and lists show of one. JSON output shows all that the API gives.
type eventType struct {
	Type        string          `json:"type"`
	Group       string          `json:"group"`
	Kind        string          `json:"kind"`
	Description string          `json:"description"`
	Deprecated  bool            `json:"deprecated"`
	Attributes  []string        `json:"attributes"`
	Schema      json.RawMessage `json:"schema"`
	Example     json.RawMessage `json:"example"`
	Profile     string          `json:"profile"`
	UpdatedAt   *time.Time      `json:"updated_at"`
}

// from is where an event type comes from.
func (t eventType) from() string {
	if t.Profile == "" {
		return "the tenant's own"
	}
	return t.Profile
}

// kind is what an event type tells of.
func (t eventType) kind() string {
	if t.Deprecated {
		return t.Kind + ", deprecated"
	}
	return t.Kind
}

type eventTypesListCmd struct {
	listed `embed:""`
}

// Run prints a table of the event types.
func (c *eventTypesListCmd) Run(ctx context.Context, streams IO) error {
	return printList(ctx, c.listed, streams, "event-types", nil, math.MaxInt,
		column[eventType]{"TYPE", func(t eventType) string { return t.Type }},
		column[eventType]{"GROUP", func(t eventType) string { return t.Group }},
		column[eventType]{"KIND", eventType.kind},
		column[eventType]{"FROM", eventType.from},
		column[eventType]{"DESCRIPTION", func(t eventType) string { return t.Description }})
}

type eventTypesShowCmd struct {
	rest `embed:""`
	Type string `arg:"" help:"The event type, e.g. card.updated."`
}

// Run prints an event type.
func (c *eventTypesShowCmd) Run(ctx context.Context, streams IO) error {
	return show(ctx, c.rest, streams, http.MethodGet, eventTypePath(c.Type), nil, printEventType)
}

func eventTypePath(name string) string { return "event-types/" + url.PathEscape(name) }

func printEventType(w io.Writer, t eventType) error {
	deprecated := ""
	if t.Deprecated {
		deprecated = "yes"
	}
	err := list(w, [2]string{"type", t.Type}, [2]string{"group", t.Group}, [2]string{"kind", t.Kind}, [2]string{"description", t.Description},
		[2]string{"deprecated", deprecated}, [2]string{"attributes", strings.Join(t.Attributes, ", ")}, [2]string{"from", t.from()},
		[2]string{"updated", when(t.UpdatedAt)})
	for _, part := range []struct {
		name string
		text json.RawMessage
	}{{"schema", t.Schema}, {"example", t.Example}} {
		if err != nil || len(part.text) == 0 {
			continue
		}
		if _, err = fmt.Fprintf(w, "\n%s:\n", part.name); err == nil {
			_, err = output{Format: "json"}.json(w, part.text)
		}
	}
	return err
}

type eventTypesApplyCmd struct {
	rest `embed:""`
	File string `arg:"" help:"YAML or JSON: event_types with type, group, kind, description, schema, example; - is stdin."`
}

// Run adds or replaces the event types of a file.
func (c *eventTypesApplyCmd) Run(ctx context.Context, streams IO) error {
	document, err := readYAML(c.File, streams.In)
	if err != nil {
		return err
	}
	type imported struct {
		Added     []string `json:"added"`
		Changed   []string `json:"changed"`
		Unchanged []string `json:"unchanged"`
	}
	return show(ctx, c.rest, streams, http.MethodPut, "event-types", document, func(w io.Writer, i imported) error {
		_, err := fmt.Fprintf(w, "event types added %d, changed %d, unchanged %d\n", len(i.Added), len(i.Changed), len(i.Unchanged))
		return err
	})
}

type eventTypesDeleteCmd struct {
	rest `embed:""`
	Type string `arg:"" help:"The event type."`
}

// Run deletes an event type.
func (c *eventTypesDeleteCmd) Run(ctx context.Context, streams IO) error {
	return remove(ctx, c.rest, streams, eventTypePath(c.Type), c.Type)
}

type eventTypesExportCmd struct {
	rest `embed:""`
}

// Run prints the catalogue as YAML.
func (c *eventTypesExportCmd) Run(ctx context.Context, streams IO) error {
	return printYAML(ctx, c.rest, streams, "event-types", nil)
}
