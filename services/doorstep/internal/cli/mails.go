package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type mailsCmd struct {
	paged   `embed:""`
	ID      string `arg:"" optional:"" help:"Show this mail whole."`
	Webhook string `placeholder:"ID" help:"Of this webhook."`
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
		if c.Webhook != "" || c.Sort != nil || c.Filters != nil {
			return usageError{errors.New("give either the id of a mail or what to list")}
		}
		return show(ctx, c.rest, streams, http.MethodGet, "mails/"+url.PathEscape(c.ID), nil, printMail)
	}
	most, err := c.most()
	if err != nil {
		return err
	}
	query := url.Values{}
	filter(query, "filter[webhook_id]", c.Webhook)
	return printList(ctx, c.listed, streams, "mails", query, most,
		column[mailed]{"ID", func(m mailed) string { return m.ID }},
		column[mailed]{"WHEN", func(m mailed) string { return when(m.MailedAt) }},
		column[mailed]{"KIND", func(m mailed) string { return m.Kind }},
		column[mailed]{"TO", func(m mailed) string { return m.To }},
		column[mailed]{"RESULT", func(m mailed) string { return m.Result }},
		column[mailed]{"SUBJECT", func(m mailed) string { return m.Subject }})
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
