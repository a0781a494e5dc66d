package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
)

type jobsCmd struct {
	List   jobsListCmd   `cmd:"" default:"withargs" help:"List releases, discards and recovers, oldest first."`
	Show   jobsShowCmd   `cmd:"" help:"Show how far a job has come."`
	Pause  jobsPauseCmd  `cmd:"" help:"Let a job rest; what it has done stays done."`
	Resume jobsResumeCmd `cmd:"" help:"Let a paused job go on."`
	Cancel jobsCancelCmd `cmd:"" help:"End a job; what it has done stays done."`
}

type jobsListCmd struct {
	listed `embed:""`
}

// Run prints a table of all jobs.
func (c *jobsListCmd) Run(ctx context.Context, streams IO) error {
	return printList(ctx, c.listed, streams, "jobs", nil, math.MaxInt,
		column[job]{"ID", func(j job) string { return j.ID }},
		column[job]{"KIND", func(j job) string { return j.Kind }},
		column[job]{"STATUS", func(j job) string { return j.Status }},
		column[job]{"CHANGED", job.progress},
		column[job]{"SKIPPED", func(j job) string { return strconv.FormatInt(j.Skipped, 10) }},
		column[job]{"CREATED", func(j job) string { return when(j.CreatedAt) }},
		column[job]{"WEBHOOK", func(j job) string { return j.WebhookID }})
}

// oneJob is what the commands about one job have in common.
type oneJob struct {
	rest `embed:""`
	ID   string `arg:"" help:"The job's id."`
}

func (c *oneJob) do(ctx context.Context, streams IO, method string, body any) error {
	return show(ctx, c.rest, streams, method, "jobs/"+url.PathEscape(c.ID), body, printJob)
}

type (
	jobsShowCmd struct {
		oneJob `embed:""`
	}
	jobsPauseCmd struct {
		oneJob `embed:""`
	}
	jobsResumeCmd struct {
		oneJob `embed:""`
	}
	jobsCancelCmd struct {
		oneJob `embed:""`
	}
)

// Run prints the job.
func (c *jobsShowCmd) Run(ctx context.Context, streams IO) error {
	return c.do(ctx, streams, http.MethodGet, nil)
}

// Run pauses the job and prints it.
func (c *jobsPauseCmd) Run(ctx context.Context, streams IO) error {
	return c.do(ctx, streams, http.MethodPatch, map[string]string{"status": "paused"})
}

// Run resumes the job and prints it.
func (c *jobsResumeCmd) Run(ctx context.Context, streams IO) error {
	return c.do(ctx, streams, http.MethodPatch, map[string]string{"status": "running"})
}

// Run cancels the job and prints it.
func (c *jobsCancelCmd) Run(ctx context.Context, streams IO) error {
	cl, err := c.client()
	if err == nil {
		_, err = cl.Do(ctx, http.MethodDelete, "jobs/"+url.PathEscape(c.ID), nil, nil, nil)
	}
	if err != nil {
		return err
	}
	return c.do(ctx, streams, http.MethodGet, nil)
}

type recoverCmd struct {
	rest       `embed:""`
	Webhook    string   `arg:"" help:"The webhook's id."`
	Since      string   `required:"" placeholder:"TIME" help:"What has ended since then: RFC 3339, or so long ago, e.g. 90m, 2h or 3d."`
	Until      string   `placeholder:"TIME" help:"What has ended before then, likewise. Empty: also what ends until the job comes to it."`
	Status     []string `enum:"exhausted,cancelled,discarded" default:"exhausted" placeholder:"STATUS" help:"What ended so, again for more: exhausted, cancelled, discarded."`
	EventTypes []string `placeholder:"TYPE" help:"Of these event types, comma separated, e.g. card.*. Empty: all."`
	Wait       bool     `help:"Wait until it is done."`
}

// Run starts a recover, or all of it with --wait, and prints the job.
func (c *recoverCmd) Run(ctx context.Context, streams IO) error {
	now := time.Now()
	since, err := pastTime(c.Since, now)
	if err != nil {
		return usageError{fmt.Errorf("--since %w", err)}
	}
	until, err := pastTime(c.Until, now)
	if err != nil {
		return usageError{fmt.Errorf("--until %w", err)}
	}
	body := map[string]any{"since": since, "statuses": c.Status}
	if until != "" {
		body["until"] = until
	}
	if len(c.EventTypes) > 0 {
		body["event_types"] = c.EventTypes
	}
	return startJob(ctx, c.rest, streams, "webhooks/"+url.PathEscape(c.Webhook)+"/recover", body, c.Wait)
}

// startJob makes a request that starts a job, waits for its end if it is to, and prints it.
func startJob(ctx context.Context, r rest, streams IO, path string, body any, wait bool) error {
	cl, err := r.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if _, err := cl.Do(ctx, http.MethodPost, path, nil, body, &raw); err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(raw, &j); err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	if wait {
		if j, raw, err = awaitJob(ctx, cl, j.ID); err != nil {
			return err
		}
	}
	if done, err := r.Output.json(streams.Out, raw); done {
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
	Total     *int64 `json:"total"`
	Changed   int64  `json:"changed"`
	Skipped   int64  `json:"skipped"`
	Selection struct {
		EventTypes  []string          `json:"event_types"`
		DeliveryIDs []string          `json:"delivery_ids"`
		Reason      string            `json:"reason"`
		SuspendedAt map[string]string `json:"suspended_at"`
		Since       string            `json:"since"`
		Until       string            `json:"until"`
		Statuses    []string          `json:"statuses"`
	} `json:"selection"`
	Error      string     `json:"error"`
	CreatedAt  *time.Time `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// outcome is what a job has done so far, in a line.
func (j job) outcome() string {
	done := map[string]string{"release": "released", "discard": "discarded", "recover": "sent again"}[j.Kind]
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
	if len(s.Statuses) > 0 {
		parts = append(parts, strings.Join(s.Statuses, " or "))
	}
	if at := cmp.Or(s.SuspendedAt["gte"], s.Since); at != "" {
		parts = append(parts, "from "+at)
	}
	if at := cmp.Or(s.SuspendedAt["lt"], s.Until); at != "" {
		parts = append(parts, "before "+at)
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, "; ")
}

// progress is how much of a job is done, of how much.
func (j job) progress() string {
	if j.Total == nil {
		return strconv.FormatInt(j.Changed, 10)
	}
	return fmt.Sprintf("%d of %d", j.Changed, *j.Total)
}

func printJob(w io.Writer, j job) error {
	return list(w, [2]string{"id", j.ID}, [2]string{"kind", j.Kind}, [2]string{"webhook", j.WebhookID}, [2]string{"selection", j.selected()},
		[2]string{"status", j.Status}, [2]string{"changed", j.progress()}, [2]string{"skipped", strconv.FormatInt(j.Skipped, 10)},
		[2]string{"reason", j.Error}, [2]string{"created", when(j.CreatedAt)}, [2]string{"finished", when(j.FinishedAt)})
}
