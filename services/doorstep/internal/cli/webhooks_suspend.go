package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
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
	fmt.Fprintln(streams.Err, printable("what was suspended because of the pause is released: doorstep jobs "+id))
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
	cl, err := c.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if _, err := cl.Do(ctx, http.MethodPost, "webhooks/"+url.PathEscape(c.ID)+"/"+kind, nil, body, &raw); err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(raw, &j); err != nil {
		return fmt.Errorf("%s deliveries of webhook %s: %w", kind, c.ID, err)
	}
	if c.Wait {
		if j, raw, err = awaitJob(ctx, cl, j.ID); err != nil {
			return err
		}
	}
	if done, err := c.Output.json(streams.Out, raw); done {
		return errors.Join(err, j.failed())
	}
	return errors.Join(printJob(streams.Out, j), j.failed())
}

// jobPoll is how often it is looked whether a job has ended.
const jobPoll = 500 * time.Millisecond

// awaitJob returns a job once it has ended, also as the API gave it.
func awaitJob(ctx context.Context, cl *client.Client, id string) (j job, raw json.RawMessage, err error) {
	tick := time.NewTicker(jobPoll)
	defer tick.Stop()
	for {
		if _, err := cl.Do(ctx, http.MethodGet, "jobs/"+url.PathEscape(id), nil, nil, &raw); err != nil {
			return job{}, nil, fmt.Errorf("job %s goes on, but: %w", id, err)
		}
		j = job{}
		if err := json.Unmarshal(raw, &j); err != nil {
			return job{}, nil, fmt.Errorf("job %s: %w", id, err)
		}
		if j.FinishedAt != nil {
			return j, raw, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return job{}, nil, fmt.Errorf("%w; job %s goes on", errStopped, id)
		}
	}
}

// job is what tables and lists show of one. JSON output shows all that the API gives.
type job struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	WebhookID string `json:"webhook_id"`
	Status    string `json:"status"`
	Changed   int64  `json:"changed"`
	Skipped   int64  `json:"skipped"`
	Selection struct {
		EventTypes  []string          `json:"event_types"`
		DeliveryIDs []string          `json:"delivery_ids"`
		Reason      string            `json:"reason"`
		SuspendedAt map[string]string `json:"suspended_at"`
	} `json:"selection"`
	Error      string     `json:"error"`
	CreatedAt  *time.Time `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// outcome is what a job has done so far, in a line.
func (j job) outcome() string {
	done := map[string]string{"release": "released", "discard": "discarded"}[j.Kind]
	text := fmt.Sprintf("%s: %d deliveries %s", j.Status, j.Changed, done)
	if j.Skipped > 0 {
		text += fmt.Sprintf(", %d left as they are because their payload is gone", j.Skipped)
	}
	return text
}

// failed errs if the job has failed.
func (j job) failed() error {
	if j.Status == "failed" {
		return fmt.Errorf("job %s: %s", j.ID, printable(j.Error))
	}
	return nil
}

// selected is what a job is about, in a line.
func (j job) selected() string {
	s := j.Selection
	var parts []string
	if len(s.EventTypes) > 0 {
		parts = append(parts, "of types "+strings.Join(s.EventTypes, ", "))
	}
	if s.Reason != "" {
		parts = append(parts, s.Reason)
	}
	if n := len(s.DeliveryIDs); n > 0 {
		parts = append(parts, strconv.Itoa(n)+" by their ids")
	}
	if at := s.SuspendedAt["gte"]; at != "" {
		parts = append(parts, "from "+at)
	}
	if at := s.SuspendedAt["lt"]; at != "" {
		parts = append(parts, "before "+at)
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, "; ")
}

func printJob(w io.Writer, j job) error {
	return list(w, [2]string{"id", j.ID}, [2]string{"kind", j.Kind}, [2]string{"webhook", j.WebhookID}, [2]string{"selection", j.selected()},
		[2]string{"status", j.Status}, [2]string{"changed", strconv.FormatInt(j.Changed, 10)}, [2]string{"skipped", strconv.FormatInt(j.Skipped, 10)},
		[2]string{"reason", j.Error}, [2]string{"created", when(j.CreatedAt)}, [2]string{"finished", when(j.FinishedAt)})
}

type jobsCmd struct {
	rest `embed:""`
	ID   string `arg:"" optional:"" help:"Show this one."`
}

// Run prints a job, or a table of all.
func (c *jobsCmd) Run(ctx context.Context, streams IO) error {
	if c.ID != "" {
		return show(ctx, c.rest, streams, http.MethodGet, "jobs/"+url.PathEscape(c.ID), nil, printJob)
	}
	raw, err := all[json.RawMessage](ctx, c.rest, "jobs", nil)
	if err != nil {
		return err
	}
	if done, err := c.Output.json(streams.Out, raw); done {
		return err
	}
	rows := make([][]string, len(raw))
	for i, b := range raw {
		var j job
		if err := json.Unmarshal(b, &j); err != nil {
			return fmt.Errorf("job %d of the list: %w", i+1, err)
		}
		rows[i] = []string{j.ID, j.Kind, j.Status, strconv.FormatInt(j.Changed, 10), strconv.FormatInt(j.Skipped, 10), when(j.CreatedAt), j.WebhookID}
	}
	return table(streams.Out, []string{"ID", "KIND", "STATUS", "CHANGED", "SKIPPED", "CREATED", "WEBHOOK"}, rows)
}
