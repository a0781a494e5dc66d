package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
)

type auditCmd struct {
	rest  `embed:""`
	Since string `placeholder:"TIME" help:"What was received before is not compared: RFC 3339, or so long ago, e.g. 12h or 7d. It must be within the retention of the history. Without it: 29d."`
}

// auditLine is any line of an audit.
type auditLine struct {
	auditDifference
	Progress *auditProgress  `json:"progress"`
	Summary  *auditSummary   `json:"summary"`
	Problem  *client.Problem `json:"problem"`
}

type auditDifference struct {
	Kind      string `json:"kind"`
	Of        string `json:"of"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	ID        string `json:"id"`
	Log       string `json:"log"`
	History   string `json:"history"`
}

type auditProgress struct {
	Records int   `json:"records"`
	Of      int64 `json:"of"`
	Rows    int   `json:"rows"`
}

type auditSummary struct {
	Events         int   `json:"events"`
	Deliveries     int   `json:"deliveries"`
	Attempts       int   `json:"attempts"`
	Rows           int   `json:"rows"`
	NotRecordedYet int64 `json:"not_recorded_yet"`
	Unreadable     int   `json:"unreadable"`
	Older          int   `json:"older"`
	Differences    int   `json:"differences"`
}

// Run prints every difference and the summary. It errs if there are differences, so that scripts see them.
func (c *auditCmd) Run(streams IO) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	since, err := pastTime(c.Since, time.Now())
	if err != nil {
		return usageError{fmt.Errorf("--since %w", err)}
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	query := url.Values{}
	filter(query, "since", since)
	summary, err := c.read(ctx, cl, query, streams)
	switch {
	case ctx.Err() != nil:
		return errStopped
	case err != nil:
		return err
	}
	if c.Output.Format != "json" {
		if err := summary.print(streams); err != nil {
			return err
		}
	}
	if summary.Differences > 0 {
		return fmt.Errorf("log and history differ in %d things", summary.Differences)
	}
	return nil
}

// read prints the lines of an audit and returns its last.
func (c *auditCmd) read(ctx context.Context, cl *client.Client, query url.Values, streams IO) (auditSummary, error) {
	body, err := cl.Open(ctx, "audit", query)
	if err != nil {
		return auditSummary{}, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLineOfAnswer)
	watched := terminal(streams.Err)
	for lines.Scan() {
		if c.Output.Format == "json" {
			fmt.Fprintf(streams.Out, "%s\n", lines.Bytes())
		}
		var l auditLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return auditSummary{}, fmt.Errorf("a line of the audit: %w", err)
		}
		if watched {
			fmt.Fprint(streams.Err, "\r\x1b[K") // the progress before
		}
		switch {
		case l.Summary != nil:
			return *l.Summary, nil
		case l.Problem != nil:
			return auditSummary{}, l.Problem
		case l.Progress != nil && watched:
			fmt.Fprintf(streams.Err, "%d of about %d records, %d rows", l.Progress.Records, l.Progress.Of, l.Progress.Rows)
		case l.Kind != "" && c.Output.Format != "json":
			fmt.Fprintln(streams.Out, printable(l.words()))
		}
	}
	if err := lines.Err(); err != nil {
		return auditSummary{}, fmt.Errorf("the audit broke off: %w", err)
	}
	return auditSummary{}, errors.New("the audit broke off before its end; begin it again")
}

// words say a difference in a sentence.
func (d auditDifference) words() string {
	at := fmt.Sprintf("%s, partition %d, offset %d", d.Topic, d.Partition, d.Offset)
	switch d.Kind {
	case "missing":
		return fmt.Sprintf("missing: %s %s is in the log (%s: %s), and the history has no row of it", d.Of, d.ID, at, d.Log)
	case "behind":
		return fmt.Sprintf("behind: the history says of %s %s: %s; the log (%s): %s", d.Of, d.ID, d.History, at, d.Log)
	case "stranger":
		return fmt.Sprintf("stranger: the history says that %s %s (%s) stands in the log at %s; there stands %s", d.Of, d.ID, d.History, at, d.Log)
	}
	return strings.Join([]string{d.Kind + ":", d.Of, d.ID, at, d.Log, d.History}, " ")
}

func (s auditSummary) print(streams IO) error {
	some := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	return list(streams.Out, [2]string{"events compared", strconv.Itoa(s.Events)},
		[2]string{"delivery records compared", strconv.Itoa(s.Deliveries)}, [2]string{"attempts compared", strconv.Itoa(s.Attempts)},
		[2]string{"rows compared", strconv.Itoa(s.Rows)}, [2]string{"older, not compared", some(int64(s.Older))},
		[2]string{"not recorded yet", some(s.NotRecordedYet)}, [2]string{"cannot be read", some(int64(s.Unreadable))},
		[2]string{"differences", strconv.Itoa(s.Differences)})
}
