package cli

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

type auditLogCmd struct {
	paged    `embed:""`
	Subject  string `placeholder:"ID" help:"Changes of the webhook, key or whatever else has this id."`
	Platform bool   `help:"Changes of the platform's own keys, and that tenants were made and deleted."`
}

// audited is what is shown of an entry. JSON output shows all that the API gives.
type audited struct {
	CreatedAt *time.Time                 `json:"created_at"`
	Author    string                     `json:"author"`
	KeyName   string                     `json:"key_name"`
	Platform  bool                       `json:"platform"`
	Action    string                     `json:"action"`
	Kind      string                     `json:"kind"`
	SubjectID string                     `json:"subject_id"`
	Before    map[string]json.RawMessage `json:"before"`
	After     map[string]json.RawMessage `json:"after"`
	Result    string                     `json:"result"`
}

// by is who made the change.
func (a audited) by() string {
	who := a.Author
	if a.KeyName != "" {
		who += " " + a.KeyName
	}
	if a.Platform {
		who += " (platform)"
	}
	return who
}

// Run prints a table of changes, newest first.
func (c *auditLogCmd) Run(ctx context.Context, streams IO) error {
	most, err := c.most()
	if err != nil {
		return err
	}
	query := url.Values{}
	filter(query, "filter[subject_id]", c.Subject)
	if c.Platform {
		query.Set("platform", "true")
	}
	return printList(ctx, c.listed, streams, "audit-log", query, most,
		column[audited]{"WHEN", func(a audited) string { return when(a.CreatedAt) }},
		column[audited]{"WHO", audited.by},
		column[audited]{"ACTION", func(a audited) string { return a.Action }},
		column[audited]{"KIND", func(a audited) string { return a.Kind }},
		column[audited]{"OF", func(a audited) string { return a.SubjectID }},
		column[audited]{"RESULT", func(a audited) string { return a.Result }},
		column[audited]{"FIELDS", audited.fields})
}

// fields names what was changed.
func (a audited) fields() string {
	fields := a.After
	if fields == nil {
		fields = a.Before
	}
	return strings.Join(slices.Sorted(maps.Keys(fields)), ",")
}
