package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
)

const (
	// silence is how long nothing may come of a stream, which has a blank line every 15 s: it is dead then.
	silence = 45 * time.Second
	// Waits before a stream that broke off is asked for again.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
	// maxLineOfAnswer bounds a line: an attempt with 64 KiB of headers both ways.
	maxLineOfAnswer = 4 << 20
)

type tailCmd struct {
	rest    `embed:""`
	Webhook string   `placeholder:"ID" help:"Of this webhook."`
	Type    string   `placeholder:"TYPE" help:"Of events of this type, e.g. card.updated."`
	Status  []string `placeholder:"STATUS" help:"That leave the delivery in this status, again for more: retrying, delivered, exhausted, suspended, cancelled, discarded, capped."`
	Failed  bool     `help:"That failed."`
	Count   int      `default:"0" help:"End after this many; 0: at Ctrl-C."`
}

// Run prints attempts as they are made, until it is stopped.
func (c *tailCmd) Run(streams IO) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cl, err := c.client()
	if err != nil {
		return err
	}
	t := tailing{cmd: c, client: cl, streams: streams, colours: colours(streams.Out)}
	for wait := firstRetry; ; {
		before := t.lines
		err := t.follow(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, errEnough):
			return nil
		case t.began == 0 || refused(err):
			return err
		}
		if t.lines > before {
			wait = firstRetry
		}
		if !t.lost {
			t.lost = true
			fmt.Fprintf(streams.Err, "the connection broke off: %s; trying again\n", printable(err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// errEnough ends a tail that has shown as many as asked for.
var errEnough = errors.New("enough")

// refused reports whether an answer will not be another if it is asked for again.
func refused(err error) bool {
	var p *client.Problem
	return errors.As(err, &p) && p.Status < http.StatusInternalServerError && p.Status != http.StatusTooManyRequests
}

// colours reports whether w shows them.
func colours(w io.Writer) bool { return terminal(w) && os.Getenv("NO_COLOR") == "" }

// tailing is a tail under way.
type tailing struct {
	cmd     *tailCmd
	client  *client.Client
	streams IO
	colours bool
	began   int  // streams that began
	lines   int  // lines, blank ones too
	shown   int  // attempts
	lost    bool // the last stream broke off, and none has begun since
}

// follow prints one stream until it ends, which is an error.
func (t *tailing) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	body, err := t.client.Open(ctx, "attempts/tail", t.cmd.query())
	if err != nil {
		return err
	}
	defer body.Close()
	if t.began++; t.lost {
		t.lost = false
		fmt.Fprintln(t.streams.Err, "connected again; attempts made meanwhile are in `doorstep deliveries list`")
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLineOfAnswer)
	for lines.Scan() {
		dead.Reset(silence)
		t.lines++
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := t.show(lines.Bytes()); err != nil {
			return err
		}
		if t.shown++; t.shown == t.cmd.Count {
			return errEnough
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the stream broke: %w", err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("nothing came for %s", silence)
	}
	return errors.New("it was ended, as when Doorstep restarts")
}

func (c *tailCmd) query() url.Values {
	q := url.Values{}
	filter(q, "filter[webhook_id]", c.Webhook)
	filter(q, "filter[event_type]", c.Type)
	filter(q, "filter[status]", strings.Join(c.Status, ","))
	if c.Failed {
		q.Set("filter[failed]", "true")
	}
	return q
}

// show prints an attempt on a line; with -o json the line as it came.
func (t *tailing) show(line []byte) error {
	if t.cmd.Output.Format == "json" {
		_, err := fmt.Fprintf(t.streams.Out, "%s\n", line)
		return err
	}
	var a tailed
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("an attempt of the stream: %w", err)
	}
	_, err := fmt.Fprintln(t.streams.Out, a.text(t.colours))
	return err
}

// tailed is an attempt as a tail shows it.
type tailed struct {
	tried
	WebhookID string `json:"webhook_id"`
	EventType string `json:"event_type"`
}

// The colours of what came of an attempt.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	plain  = "\x1b[0m"
)

// text is an attempt on a line: when, for whom, what, how it went and what comes next.
func (a tailed) text(coloured bool) string {
	clock := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.Local().Format(time.TimeOnly)
	}
	when := "            "
	if a.StartedAt != nil {
		when = a.StartedAt.Local().Format("15:04:05.000")
	}
	result := fmt.Sprintf("%-18s", printable(a.result()))
	if coloured {
		result = a.colour() + result + plain
	}
	rest := "attempt " + strconv.Itoa(a.Attempt) + "  " + a.follows(clock)
	if a.Kind != kindPost {
		rest = a.follows(clock)
	}
	if a.StatusCode == 0 && a.Error != "" {
		rest += ": " + a.Error
	}
	return fmt.Sprintf("%s  %-36s  %-20s  %s  %s", when, printable(or(a.WebhookID, "-")), printable(a.EventType), result, printable(rest))
}

func (a tailed) colour() string {
	switch a.Status {
	case "delivered":
		return green
	case "retrying", "pending":
		return yellow
	}
	return red
}
