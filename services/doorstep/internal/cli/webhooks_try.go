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

type webhooksTestCmd struct {
	rest `embed:""`
	ID   string `arg:"" help:"The webhook's id."`
	Type string `placeholder:"TYPE" help:"The event type of the test, one that the webhook asks for; default: the first that has an example."`
	Data string `placeholder:"FILE" help:"A file with the data to send, any JSON ('-': stdin); default: the type's example."`
}

// tested is what the API answers to a test.
type tested struct {
	DeliveryID string `json:"delivery_id"`
	EventType  string `json:"event_type"`
	Attempt    *struct {
		Status       string `json:"status"`
		StatusCode   int    `json:"status_code"`
		ErrorCode    string `json:"error_code"`
		Error        string `json:"error"`
		ResponseBody string `json:"response_body"`
		Phases       *struct {
			Total float64 `json:"total_ms"`
		} `json:"phases"`
	} `json:"attempt"`
}

// Run sends a test and prints what the receiver said. It errs if the receiver did not accept it, or has not answered in time.
func (c *webhooksTestCmd) Run(ctx context.Context, streams IO) error {
	body := map[string]any{}
	if c.Type != "" {
		body["event_type"] = c.Type
	}
	if c.Data != "" {
		b, err := readFile(c.Data, streams.In)
		if err != nil {
			return err
		}
		if !json.Valid(b) {
			return fmt.Errorf("--data %s: is not JSON", c.Data)
		}
		body["data"] = json.RawMessage(b)
	}
	var t tested
	err := show(ctx, c.rest, streams, http.MethodPost, "webhooks/"+url.PathEscape(c.ID)+"/test", body, func(w io.Writer, answered tested) error {
		t = answered
		return printTest(w, t)
	})
	switch {
	case err != nil || c.Output.Format == "json":
		return err
	case t.Attempt == nil:
		return fmt.Errorf("the receiver has not answered yet: doorstep deliveries %s shows what becomes of the test", t.DeliveryID)
	case t.Attempt.ErrorCode != "":
		return errors.New(printable("the test was not accepted: " + t.Attempt.Error))
	}
	return nil
}

func printTest(w io.Writer, t tested) error {
	pairs := [][2]string{{"delivery", t.DeliveryID}, {"event type", t.EventType}}
	if a := t.Attempt; a != nil {
		answer, took := "", ""
		if a.StatusCode > 0 {
			answer = strings.TrimSpace(strconv.Itoa(a.StatusCode) + " " + http.StatusText(a.StatusCode))
		}
		if a.Phases != nil {
			took = time.Duration(a.Phases.Total * float64(time.Millisecond)).Round(time.Millisecond).String()
		}
		pairs = append(pairs, [2]string{"status", a.Status}, [2]string{"answer", answer}, [2]string{"took", took}, [2]string{"body", a.ResponseBody})
	}
	return list(w, pairs...)
}

type webhooksTryCmd struct {
	rest      `embed:""`
	hookFlags `embed:""`
	ID        string `arg:"" optional:"" help:"A webhook to try, with what the flags change of it; without, one that does not exist."`
	Limit     int    `default:"50" help:"How many of the latest events it is tried with, 1 to 500."`
	Samples   string `placeholder:"FILE" help:"A JSON array of events to try it with instead, as they are published ('-': stdin)."`
	Bodies    bool   `help:"Print what the receiver would get too."`
}

// trial is what the API answers to a try.
type trial struct {
	Events  int `json:"events"`
	Matched int `json:"matched"`
	Expired int `json:"expired"`
	Results []struct {
		ID         string     `json:"id"`
		Type       string     `json:"type"`
		ReceivedAt *time.Time `json:"received_at"`
		Matches    bool       `json:"matches"`
		Reason     string     `json:"reason"`
		Filters    []string   `json:"filters"`
		Message    string     `json:"message"`
		Request    *struct {
			Headers   []struct{ Name, Value string } `json:"headers"`
			Body      string                         `json:"body"`
			Truncated bool                           `json:"body_truncated"`
		} `json:"request"`
	} `json:"results"`
}

// Run tells which of the latest events a webhook would get, and why not the others.
func (c *webhooksTryCmd) Run(ctx context.Context, streams IO) error {
	body, err := c.body(streams.In)
	if err != nil {
		return err
	}
	if c.Samples != "" {
		b, err := readFile(c.Samples, streams.In)
		if err != nil {
			return err
		}
		var events []json.RawMessage
		if err := json.Unmarshal(b, &events); err != nil {
			return fmt.Errorf("--samples %s: not a JSON array: %w", c.Samples, err)
		}
		body["sample_events"] = events
	}
	path := "webhooks/try"
	if c.ID != "" {
		path = "webhooks/" + url.PathEscape(c.ID) + "/try"
	}
	return show(ctx, c.rest, streams, http.MethodPost, path+"?limit="+strconv.Itoa(c.Limit), body, func(w io.Writer, t trial) error {
		return printTrial(w, t, c.Bodies)
	})
}

func printTrial(w io.Writer, t trial, bodies bool) error {
	rows := make([][]string, len(t.Results))
	for i, r := range t.Results {
		said := strings.TrimSpace(r.Reason + " " + strings.Join(r.Filters, ","))
		if r.Matches {
			said = strings.TrimSpace("matches " + r.Reason)
		}
		rows[i] = []string{r.ID, r.Type, when(r.ReceivedAt), said, r.Message}
	}
	if err := table(w, []string{"EVENT", "TYPE", "RECEIVED", "RESULT", "MESSAGE"}, rows); err != nil {
		return err
	}
	if bodies {
		for _, r := range t.Results {
			if r.Request == nil {
				continue
			}
			fmt.Fprintf(w, "\n%s\n", printable(r.ID))
			for _, h := range r.Request.Headers {
				fmt.Fprintln(w, printable(h.Name+": "+h.Value))
			}
			fmt.Fprintf(w, "\n%s\n", printable(r.Request.Body))
			if r.Request.Truncated {
				fmt.Fprintln(w, "... and more")
			}
		}
	}
	_, err := fmt.Fprintf(w, "%d of %d events match\n", t.Matched, t.Events)
	return err
}
