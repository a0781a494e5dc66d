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
)

type deliveriesCmd struct {
	List   deliveriesListCmd   `cmd:"" help:"List deliveries, newest first."`
	Get    deliveriesGetCmd    `cmd:"" help:"Show a delivery with its attempts, or its payload."`
	Resend deliveriesResendCmd `cmd:"" help:"Send deliveries again, with the same bytes and id."`
}

// sent is what tables and lists show of a delivery. JSON output shows all that the API gives.
type sent struct {
	ID                string      `json:"id"`
	WebhookID         string      `json:"webhook_id"`
	EventID           string      `json:"event_id"`
	EventType         string      `json:"event_type"`
	ExternalReference string      `json:"external_reference"`
	Status            string      `json:"status"`
	Cause             string      `json:"cause"`
	RunID             string      `json:"run_id"`
	AttemptCount      int         `json:"attempt_count"`
	NextAttemptAt     *time.Time  `json:"next_attempt_at"`
	SuspendReason     string      `json:"suspend_reason"`
	CreatedAt         *time.Time  `json:"created_at"`
	UpdatedAt         *time.Time  `json:"updated_at"`
	LastAttempt       *sentResult `json:"last_attempt"`
	Attempts          []tried     `json:"attempts"`
}

// sentResult is what came of an attempt.
type sentResult struct {
	StatusCode int    `json:"status_code"`
	ErrorCode  string `json:"error_code"`
	Error      string `json:"error"`
}

// answer is the result in a word: the status if there was an answer, else what went wrong.
func (r sentResult) answer() string {
	if r.StatusCode != 0 {
		return strconv.Itoa(r.StatusCode)
	}
	return r.ErrorCode
}

type deliveriesListCmd struct {
	paged     `embed:""`
	Webhook   string   `placeholder:"ID" help:"Of this webhook."`
	Event     string   `placeholder:"ID" help:"Of this event."`
	Type      string   `placeholder:"TYPE" help:"Of events of this type, e.g. card.updated."`
	Reference string   `name:"ref" aliases:"reference" placeholder:"REFERENCE" help:"Of events with this external reference."`
	Status    []string `placeholder:"STATUS" help:"With this status, again for more: pending, retrying, delivered, exhausted, suspended, cancelled, discarded, capped."`
	Since     string   `placeholder:"TIME" help:"Received since then: RFC 3339, or so long ago, e.g. 90m, 2h or 3d."`
	Until     string   `placeholder:"TIME" help:"Received before then, likewise."`
}

// query is what the API is asked.
func (c *deliveriesListCmd) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	filter(q, "filter[webhook_id]", c.Webhook)
	filter(q, "filter[event_id]", c.Event)
	filter(q, "filter[event_type]", c.Type)
	filter(q, "filter[external_reference]", c.Reference)
	filter(q, "filter[status]", strings.Join(c.Status, ","))
	since, err := pastTime(c.Since, now)
	if err != nil {
		return nil, usageError{fmt.Errorf("--since %w", err)}
	}
	until, err := pastTime(c.Until, now)
	if err != nil {
		return nil, usageError{fmt.Errorf("--until %w", err)}
	}
	filter(q, "filter[created_at][gte]", since)
	filter(q, "filter[created_at][lt]", until)
	return q, nil
}

func filter(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// pastTime is an RFC 3339 time, given as such or as how long ago it was; empty stays empty.
func pastTime(text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return text, nil
	}
	ago, err := time.ParseDuration(text)
	if days, is := strings.CutSuffix(text, "d"); is {
		n, wrong := strconv.ParseFloat(days, 64)
		ago, err = time.Duration(n*24*float64(time.Hour)), wrong
	}
	if err != nil || ago < 0 {
		return "", fmt.Errorf("%q: want an RFC 3339 time, or how long ago, e.g. 90m, 2h or 3d", text)
	}
	return now.Add(-ago).UTC().Format(time.RFC3339), nil
}

// Run prints a table of deliveries.
func (c *deliveriesListCmd) Run(ctx context.Context, streams IO) error {
	query, err := c.query(time.Now())
	if err != nil {
		return err
	}
	most, err := c.most()
	if err != nil {
		return err
	}
	return printList(ctx, c.listed, streams, "deliveries", query, most,
		column[sent]{"ID", func(d sent) string { return d.ID }},
		column[sent]{"STATUS", func(d sent) string { return d.Status }},
		column[sent]{"ATTEMPTS", func(d sent) string { return strconv.Itoa(d.AttemptCount) }},
		column[sent]{"ANSWER", sent.answer},
		column[sent]{"EVENT TYPE", func(d sent) string { return d.EventType }},
		column[sent]{"CREATED", func(d sent) string { return when(d.CreatedAt) }},
		column[sent]{"NEXT", func(d sent) string { return when(d.NextAttemptAt) }},
		column[sent]{"WEBHOOK", func(d sent) string { return d.WebhookID }})
}

// answer is the result of the last attempt in a word; empty: none was made.
func (d sent) answer() string {
	if d.LastAttempt == nil {
		return ""
	}
	return d.LastAttempt.answer()
}

type deliveriesGetCmd struct {
	rest    `embed:""`
	ID      string `arg:"" help:"The delivery's id; receivers get it as webhook-id."`
	Payload bool   `help:"Print the bytes that the receiver gets, and nothing else."`
	Headers bool   `help:"Show the headers of each attempt too."`
}

// Run prints a delivery.
func (c *deliveriesGetCmd) Run(ctx context.Context, streams IO) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	path := "deliveries/" + url.PathEscape(c.ID)
	if c.Payload {
		body, err := cl.Open(ctx, path+"/payload", nil)
		if err != nil {
			return err
		}
		defer body.Close()
		if _, err := io.Copy(streams.Out, body); err != nil {
			return fmt.Errorf("GET %s/payload: read the answer: %w", path, err)
		}
		return nil
	}
	var raw json.RawMessage
	if _, err := cl.Do(ctx, http.MethodGet, path, nil, nil, &raw); err != nil {
		return err
	}
	if done, err := c.Output.json(streams.Out, raw); done {
		return err
	}
	var d sent
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return printDelivery(streams.Out, d, c.Headers)
}

type deliveriesResendCmd struct {
	rest `embed:""`
	IDs  []string `arg:"" name:"id" help:"The deliveries' ids."`
}

// Run sends deliveries again, one after the other, up to the first that cannot be.
func (c *deliveriesResendCmd) Run(ctx context.Context, streams IO) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	type run struct {
		ID    string `json:"id"`
		RunID string `json:"run_id"`
	}
	done := []run{}
	var failed error
	for _, id := range c.IDs {
		var r run
		if _, err := cl.Do(ctx, http.MethodPost, "deliveries/"+url.PathEscape(id)+"/resend", nil, nil, &r); err != nil {
			failed = fmt.Errorf("%s: %w", id, err)
			break
		}
		if done = append(done, r); c.Output.Format != "json" {
			fmt.Fprintln(streams.Out, printable("sent again "+r.ID+", run "+r.RunID))
		}
	}
	_, err = c.Output.json(streams.Out, done)
	return errors.Join(err, failed)
}
