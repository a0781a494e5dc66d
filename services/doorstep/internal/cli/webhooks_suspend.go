package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type webhooksPauseCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The webhook's id."`
}

// Run pauses a webhook and prints it.
func (c *webhooksPauseCmd) Run(ctx context.Context, streams IO) error {
	return c.show(ctx, streams, http.MethodPost, "webhooks/"+url.PathEscape(c.ID)+"/pause", nil)
}

type webhooksResumeCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The webhook's id."`
	Wait bool   `help:"Wait until what was suspended is released."`
}

// Run resumes a webhook and prints it, and says which job releases what was suspended.
func (c *webhooksResumeCmd) Run(ctx context.Context, streams IO) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	meta, err := cl.Do(ctx, http.MethodPost, "webhooks/"+url.PathEscape(c.ID)+"/resume", nil, nil, &raw)
	if err != nil {
		return err
	}
	if done, err := c.Output.json(streams.Out, raw); err != nil {
		return err
	} else if !done {
		var h hook
		if err := json.Unmarshal(raw, &h); err != nil {
			return fmt.Errorf("resume webhook %s: %w", c.ID, err)
		}
		if err := printHook(streams.Out, h); err != nil {
			return err
		}
	}
	_, id, started := strings.Cut(meta.Location, "/jobs/")
	if !started {
		fmt.Fprintln(streams.Err, printable(meta.Notice))
		return nil
	}
	fmt.Fprintln(streams.Err, printable("what was suspended because of the pause is released: doorstep jobs show "+id))
	if !c.Wait {
		return nil
	}
	j, _, err := awaitJob(ctx, cl, id)
	if err != nil {
		return err
	}
	fmt.Fprintln(streams.Err, printable(j.outcome()))
	return j.failed()
}

// selection is what a release or a discard is about.
type selection struct {
	EventTypes []string `name:"event-types" placeholder:"TYPE" help:"Only of events of these types: card.updated, card.* or *; with commas between them, or again for more."`
	Reason     string   `enum:",disabled,inactive,paused" default:"" placeholder:"REASON" help:"Only what was suspended for this reason: disabled, inactive or paused."`
	From       string   `placeholder:"TIME" help:"Only what was suspended then or later: RFC 3339, or so long ago, e.g. 90m, 2h or 3d."`
	To         string   `placeholder:"TIME" help:"Only what was suspended before then, likewise."`
	Deliveries []string `name:"delivery" placeholder:"ID" help:"Only these deliveries, again for more."`
}

// body is the JSON object to send.
func (s selection) body(now time.Time) (map[string]any, error) {
	body := map[string]any{}
	if len(s.EventTypes) > 0 {
		body["event_types"] = s.EventTypes
	}
	if s.Reason != "" {
		body["reason"] = s.Reason
	}
	if len(s.Deliveries) > 0 {
		body["delivery_ids"] = s.Deliveries
	}
	between := map[string]string{}
	for _, bound := range []struct{ flag, text, name string }{{"--from", s.From, "gte"}, {"--to", s.To, "lt"}} {
		at, err := pastTime(bound.text, now)
		if err != nil {
			return nil, usageError{fmt.Errorf("%s %w", bound.flag, err)}
		}
		if at != "" {
			between[bound.name] = at
		}
	}
	if len(between) > 0 {
		body["suspended_at"] = between
	}
	return body, nil
}

// suspended is what release and discard have in common.
type suspended struct {
	rest      `embed:""`
	ID        string    `arg:"" help:"The webhook's id."`
	Selection selection `embed:""`
	Wait      bool      `help:"Wait until it is done."`
}

type (
	webhooksReleaseCmd struct {
		suspended `embed:""`
	}
	webhooksDiscardCmd struct {
		suspended `embed:""`
	}
)

// Run starts a release, or all of it with --wait, and prints the job.
func (c *webhooksReleaseCmd) Run(ctx context.Context, streams IO) error {
	return c.start(ctx, streams, "release")
}

// Run starts a discard, or all of it with --wait, and prints the job.
func (c *webhooksDiscardCmd) Run(ctx context.Context, streams IO) error {
	return c.start(ctx, streams, "discard")
}

func (c *suspended) start(ctx context.Context, streams IO, kind string) error {
	body, err := c.Selection.body(time.Now())
	if err != nil {
		return err
	}
	return startJob(ctx, c.rest, streams, "webhooks/"+url.PathEscape(c.ID)+"/"+kind, body, c.Wait)
}
