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

type explainCmd struct {
	rest    `embed:""`
	Event   string `arg:"" help:"The event's id."`
	Webhook string `arg:"" help:"The webhook's id."`
}

// explained is what is printed of an explanation. JSON output shows all that the API gives.
type explained struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Event   struct {
		Type       string `json:"type"`
		Receptions []struct {
			ReceivedAt *time.Time `json:"received_at"`
			Topic      string     `json:"topic"`
			Partition  int32      `json:"partition"`
			Offset     int64      `json:"offset"`
			Duplicate  bool       `json:"duplicate"`
		} `json:"receptions"`
	} `json:"event"`
	Checks []struct {
		Name    string `json:"name"`
		Passes  *bool  `json:"passes"`
		Message string `json:"message"`
		Differs []struct {
			Attribute string  `json:"attribute"`
			Wanted    string  `json:"wanted"`
			Given     *string `json:"given"`
		} `json:"differs"`
	} `json:"checks"`
	Delivery *sent `json:"delivery"`
}

// Run prints why an event went, or did not go, to a webhook.
func (c *explainCmd) Run(ctx context.Context, streams IO) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	query := url.Values{"event": {c.Event}, "webhook": {c.Webhook}}
	if _, err := cl.Do(ctx, http.MethodGet, "explain", query, nil, &raw); err != nil {
		return err
	}
	if done, err := c.Output.json(streams.Out, raw); done {
		return err
	}
	var x explained
	if err := json.Unmarshal(raw, &x); err != nil {
		return fmt.Errorf("explain event %s, webhook %s: %w", c.Event, c.Webhook, err)
	}
	return list(streams.Out, x.lines()...)
}

func (x explained) lines() [][2]string {
	lines := [][2]string{{"verdict", x.Verdict}, {"reason", x.Reason}}
	for _, r := range x.Event.Receptions {
		text := fmt.Sprintf("%s %s at %s/%d offset %d", x.Event.Type, when(r.ReceivedAt), r.Topic, r.Partition, r.Offset)
		if r.Duplicate {
			text += ", a duplicate"
		}
		lines = append(lines, [2]string{"received", text})
	}
	for _, c := range x.Checks {
		mark := "cannot be told"
		if c.Passes != nil {
			mark = map[bool]string{true: "yes", false: "no"}[*c.Passes]
		}
		var differs []string
		for _, d := range c.Differs {
			given := "absent"
			if d.Given != nil {
				given = fmt.Sprintf("%q", *d.Given)
			}
			if d.Wanted != "" {
				given += fmt.Sprintf(", wanted %q", d.Wanted)
			}
			differs = append(differs, d.Attribute+" is "+given)
		}
		text := mark + ": " + c.Message
		if len(differs) > 0 {
			text += " (" + strings.Join(differs, "; ") + ")"
		}
		lines = append(lines, [2]string{c.Name, text})
	}
	if x.Delivery != nil {
		lines = append(lines, [2]string{"delivery", x.Delivery.ID})
	}
	return lines
}
