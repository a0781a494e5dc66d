package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type mailsCmd struct {
	rest    `embed:""`
	ID      string `arg:"" optional:"" help:"Show this mail whole."`
	Webhook string `placeholder:"ID" help:"Of this webhook."`
	Limit   int    `default:"50" help:"How many at most."`
	All     bool   `help:"All of them, however many."`
}

// mailed is what is shown of a mail. JSON output shows all that the API gives.
type mailed struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	WebhookID string     `json:"webhook_id"`
	To        string     `json:"to"`
	Subject   string     `json:"subject"`
	Text      string     `json:"text"`
	Result    string     `json:"result"`
	Error     string     `json:"error"`
	MailedAt  *time.Time `json:"mailed_at"`
}

// Run prints a table of mails, or one mail.
func (c *mailsCmd) Run(ctx context.Context, streams IO) error {
	if c.ID != "" {
		if c.Webhook != "" {
			return usageError{errors.New("give either the id of a mail or --webhook")}
		}
		return show(ctx, c.rest, streams, http.MethodGet, "mails/"+url.PathEscape(c.ID), nil, printMail)
	}
	if c.Limit < 1 {
		return usageError{errors.New("--limit: must be at least 1")}
	}
	most := c.Limit
	if c.All {
		most = math.MaxInt
	}
	query := url.Values{}
	filter(query, "filter[webhook_id]", c.Webhook)
	raw, more, err := some[json.RawMessage](ctx, c.rest, "mails", query, most)
	if err != nil {
		return err
	}
	if more {
		fmt.Fprintf(streams.Err, "the %d newest; there are more: --limit or --all shows them\n", len(raw))
	}
	if done, err := c.Output.json(streams.Out, raw); done {
		return err
	}
	rows := make([][]string, len(raw))
	for i, b := range raw {
		var m mailed
		if err := json.Unmarshal(b, &m); err != nil {
			return fmt.Errorf("mail %d of the list: %w", i+1, err)
		}
		rows[i] = []string{m.ID, when(m.MailedAt), m.Kind, m.To, m.Result, m.Subject}
	}
	return table(streams.Out, []string{"ID", "WHEN", "KIND", "TO", "RESULT", "SUBJECT"}, rows)
}

// printMail prints a mail as it was sent, with what came of it.
func printMail(w io.Writer, m mailed) error {
	err := list(w, [2]string{"id", m.ID}, [2]string{"when", when(m.MailedAt)}, [2]string{"kind", m.Kind},
		[2]string{"webhook", m.WebhookID}, [2]string{"to", m.To}, [2]string{"result", m.Result}, [2]string{"error", m.Error},
		[2]string{"subject", m.Subject})
	if err != nil || m.Text == "" {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines("\n" + m.Text) {
		b.WriteString(printable(strings.TrimRight(line, "\r\n")) + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}
