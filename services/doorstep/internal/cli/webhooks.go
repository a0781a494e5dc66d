package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type webhooksCmd struct {
	List    webhooksListCmd    `cmd:"" help:"List the webhooks."`
	Get     webhooksGetCmd     `cmd:"" help:"Show a webhook, with its secret."`
	Create  webhooksCreateCmd  `cmd:"" help:"Register a webhook."`
	Update  webhooksUpdateCmd  `cmd:"" help:"Change a webhook; what is not named stays."`
	Test    webhooksTestCmd    `cmd:"" help:"Send a test to a webhook, and say what its receiver answers."`
	Try     webhooksTryCmd     `cmd:"" help:"Say which of the latest events a webhook would get, and why not the others; nothing is sent."`
	Rotate  webhooksRotateCmd  `cmd:"" name:"rotate-secret" help:"Replace a webhook's secret; the former one signs too for a while."`
	Pause   webhooksPauseCmd   `cmd:"" help:"Pause a webhook; what comes for it is suspended."`
	Resume  webhooksResumeCmd  `cmd:"" help:"Resume a webhook, and release what was suspended because it was paused."`
	Release webhooksReleaseCmd `cmd:"" help:"Send suspended deliveries of a webhook."`
	Discard webhooksDiscardCmd `cmd:"" help:"Give up suspended deliveries of a webhook, for good."`
	Delete  webhooksDeleteCmd  `cmd:"" help:"Delete a webhook; what is under way to it is cancelled."`
}

// hook is what tables and lists show of a webhook. JSON output shows all that the API gives.
type hook struct {
	ID                string            `json:"id"`
	Name              string            `json:"name"`
	Description       string            `json:"description"`
	URL               string            `json:"url"`
	Active            bool              `json:"active"`
	CanSend           bool              `json:"can_send"`
	Paused            bool              `json:"paused"`
	Disabled          bool              `json:"disabled"`
	DisabledAt        *time.Time        `json:"disabled_at"`
	DisableReason     string            `json:"disable_reason"`
	EventTypes        []string          `json:"event_types"`
	Filters           map[string]string `json:"filters"`
	Condition         string            `json:"condition"`
	RetryCount        *int              `json:"retry_count"`
	TimeoutSeconds    *int              `json:"timeout_seconds"`
	ExternalReference string            `json:"external_reference"`
	Secret            string            `json:"secret"`
	PublicKey         string            `json:"public_key"` // null: none
	FailStreak        int               `json:"fail_streak"`
	SuspendedCount    int               `json:"suspended_count"`
	ConditionErrors   *conditionErrors  `json:"condition_errors"`
	DisabledUntil     *time.Time        `json:"disabled_until"`
	MailedWarningAt   *time.Time        `json:"mailed_warning_at"`
	MailedDisabledAt  *time.Time        `json:"mailed_disabled_at"`
	LastSuccessAt     *time.Time        `json:"last_success_at"`
	LastFailureAt     *time.Time        `json:"last_failure_at"`
	CreatedAt         *time.Time        `json:"created_at"`
	UpdatedAt         *time.Time        `json:"updated_at"`
}

// conditionErrors are how often a condition could not be evaluated.
type conditionErrors struct {
	Count     int        `json:"count"`
	LastError string     `json:"last_error"`
	LastAt    *time.Time `json:"last_at"`
}

func (c *conditionErrors) String() string {
	if c == nil || c.Count == 0 {
		return ""
	}
	return fmt.Sprintf("%d, last %s: %s", c.Count, when(c.LastAt), c.LastError)
}

// state is what people ask first: is it sent to?
func (h hook) state() string {
	switch {
	case h.Disabled:
		return "disabled"
	case !h.Active:
		return "inactive"
	case h.Paused:
		return "paused"
	case !h.CanSend:
		return "waiting"
	case h.FailStreak > 0:
		return "failing"
	default:
		return "active"
	}
}

// disabled is since when it is disabled, and why; empty: it is not.
func (h hook) disabled() string {
	switch {
	case !h.Disabled:
		return ""
	case h.DisableReason == "gone":
		return when(h.DisabledAt) + ", its receiver answered 410 Gone"
	default:
		return when(h.DisabledAt) + ", " + strconv.Itoa(h.FailStreak) + " failed attempts in a row"
	}
}

type webhooksListCmd struct {
	listed `embed:""`
}

// Run prints a table of the webhooks.
func (c *webhooksListCmd) Run(ctx context.Context, streams IO) error {
	return printList(ctx, c.listed, streams, "webhooks", nil, math.MaxInt,
		column[hook]{"ID", func(h hook) string { return h.ID }},
		column[hook]{"NAME", func(h hook) string { return h.Name }},
		column[hook]{"STATE", hook.state},
		column[hook]{"FAILED", func(h hook) string { return strconv.Itoa(h.FailStreak) }},
		column[hook]{"EVENT TYPES", func(h hook) string { return shortList(h.EventTypes) }},
		column[hook]{"URL", func(h hook) string { return h.URL }})
}

// shortList keeps a column narrow.
func shortList(types []string) string {
	const shown = 2
	if len(types) <= shown+1 {
		return strings.Join(types, ",")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(types[:shown], ","), len(types)-shown)
}

type webhooksGetCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The webhook's id."`
}

// Run prints a webhook.
func (c *webhooksGetCmd) Run(ctx context.Context, streams IO) error {
	return c.show(ctx, streams, http.MethodGet, "webhooks/"+url.PathEscape(c.ID), nil)
}

// show makes a call that answers with a webhook, and prints that.
func (r rest) show(ctx context.Context, streams IO, method, path string, body any) error {
	return show(ctx, r, streams, method, path, body, printHook)
}

// yes is what a list shows of something that is rare.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func printHook(w io.Writer, h hook) error {
	number := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	var filters []string
	for _, k := range slices.Sorted(maps.Keys(h.Filters)) {
		filters = append(filters, k+"="+h.Filters[k])
	}
	suspended := ""
	if h.SuspendedCount > 0 {
		suspended = strconv.Itoa(h.SuspendedCount)
	}
	return list(w, [2]string{"id", h.ID}, [2]string{"name", h.Name}, [2]string{"description", h.Description},
		[2]string{"url", h.URL}, [2]string{"state", h.state()}, [2]string{"event types", strings.Join(h.EventTypes, ", ")},
		[2]string{"filters", strings.Join(filters, ", ")}, [2]string{"condition", h.Condition},
		[2]string{"condition failed", h.ConditionErrors.String()},
		[2]string{"retries", number(h.RetryCount)}, [2]string{"timeout (s)", number(h.TimeoutSeconds)},
		[2]string{"external reference", h.ExternalReference}, [2]string{"secret", h.Secret}, [2]string{"public key", h.PublicKey},
		[2]string{"fail streak", strconv.Itoa(h.FailStreak)}, [2]string{"warned by mail", when(h.MailedWarningAt)},
		[2]string{"disabled", h.disabled()}, [2]string{"told by mail", when(h.MailedDisabledAt)},
		[2]string{"paused", yes(h.Paused)}, [2]string{"suspended", suspended},
		[2]string{"not before", when(h.DisabledUntil)}, [2]string{"last success", when(h.LastSuccessAt)},
		[2]string{"last failure", when(h.LastFailureAt)}, [2]string{"created", when(h.CreatedAt)}, [2]string{"updated", when(h.UpdatedAt)})
}

// hookFlags are the fields of a webhook that can be set by flag. Nil and empty ones are not sent.
type hookFlags struct {
	URL            *string           `name:"to" placeholder:"URL" help:"Where to POST, e.g. https://example.com/hooks."`
	EventTypes     []string          `name:"event-type" placeholder:"TYPE" help:"What it wants, again for more: card.updated, card.* or *."`
	Name           *string           `help:"A name for people."`
	Description    *string           `help:"What it is for; at most 150 characters."`
	Filters        map[string]string `name:"filter" mapsep:"none" placeholder:"KEY=VALUE" help:"An attribute that the event must have, again for more."`
	Condition      *string           `placeholder:"CEL" help:"A CEL expression over event and data that must hold."`
	Headers        map[string]string `name:"header" mapsep:"none" placeholder:"NAME=VALUE" help:"A header to send along, again for more."`
	Format         *string           `enum:"raw,standard,cloudevents,thin,hook" placeholder:"FORMAT" help:"Shape of the body: raw, standard, cloudevents, thin or hook."`
	RetryCount     *int              `placeholder:"N" help:"Retries after the first attempt, 0 to 12."`
	TimeoutSeconds *int              `placeholder:"SECONDS" help:"For how long an answer is waited for, 1 to 30 seconds."`
	RateLimit      *int              `placeholder:"N" help:"POSTs per second at most; 0: no limit."`
	MaxInFlight    *int              `placeholder:"N" help:"POSTs at once at most, up to 256; 0: the sender's default."`
	Reference      *string           `name:"ref" placeholder:"REFERENCE" help:"Your own name for it."`
	Active         *bool             `negatable:"" help:"Whether it is sent to."`
	KeyPair        *bool             `negatable:"" help:"Whether it has an ed25519 key pair, which signs beside the secret (v1a): receivers verify with its public key."`
	File           string            `name:"file" short:"f" placeholder:"FILE" help:"A JSON object of fields as the REST API takes them ('-': stdin); flags override it."`
}

// body is the JSON object to send.
func (f hookFlags) body(in io.Reader) (map[string]any, error) {
	body := map[string]any{}
	if f.File != "" {
		b, err := readFile(f.File, in)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &body); err != nil {
			return nil, fmt.Errorf("--file %s: not a JSON object: %w", f.File, err)
		}
	}
	put(body, "url", f.URL)
	put(body, "name", f.Name)
	put(body, "description", f.Description)
	put(body, "condition", f.Condition)
	put(body, "retry_count", f.RetryCount)
	put(body, "timeout_seconds", f.TimeoutSeconds)
	put(body, "rate_limit", f.RateLimit)
	put(body, "max_in_flight", f.MaxInFlight)
	put(body, "external_reference", f.Reference)
	put(body, "active", f.Active)
	put(body, "key_pair", f.KeyPair)
	if f.EventTypes != nil {
		body["event_types"] = f.EventTypes
	}
	if f.Filters != nil {
		body["filters"] = f.Filters
	}
	if f.Headers != nil {
		body["headers"] = f.Headers
	}
	if f.Format != nil {
		body["payload"] = map[string]any{"format": *f.Format}
	}
	return body, nil
}

func put[T any](body map[string]any, name string, value *T) {
	if value != nil {
		body[name] = *value
	}
}

type webhooksCreateCmd struct {
	rest `embed:""`
	Hook hookFlags `embed:""`
}

// Run registers a webhook and prints it with its secret.
func (c *webhooksCreateCmd) Run(ctx context.Context, streams IO) error {
	body, err := c.Hook.body(streams.In)
	if err != nil {
		return err
	}
	if body["url"] == nil || body["event_types"] == nil {
		return usageError{errors.New("--to and --event-type are required")}
	}
	return c.show(ctx, streams, http.MethodPost, "webhooks", body)
}

type webhooksUpdateCmd struct {
	rest `embed:""`
	Hook hookFlags `embed:""`
	ID   string    `arg:"" help:"The webhook's id."`
}

// Run changes a webhook and prints it.
func (c *webhooksUpdateCmd) Run(ctx context.Context, streams IO) error {
	body, err := c.Hook.body(streams.In)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return usageError{errors.New("nothing to change; name a field, e.g. --no-active")}
	}
	return c.show(ctx, streams, http.MethodPatch, "webhooks/"+url.PathEscape(c.ID), body)
}

type webhooksDeleteCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The webhook's id."`
}

// Run deletes a webhook.
func (c *webhooksDeleteCmd) Run(ctx context.Context, streams IO) error {
	return remove(ctx, c.rest, streams, "webhooks/"+url.PathEscape(c.ID), c.ID)
}
