package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/receiver"
)

type listenCmd struct {
	Addr      string        `default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Where to listen; port 0: any free one."`
	Secrets   []string      `name:"secret" env:"DOORSTEP_WEBHOOK_SECRET" placeholder:"whsec_..." help:"The webhook's secret, or its public key (whpk_...), to verify signatures with. Of several, given again or with commas between them, one has to match. A request whose signature is wrong is answered 401."`
	Status    int           `default:"204" help:"Status to answer with, 200 to 599."`
	Delay     time.Duration `default:"0s" help:"Time to wait before each answer."`
	FailFirst int           `default:"0" help:"Answer 500 to this many attempts of each delivery first."`
	Count     int           `default:"0" help:"End after this many requests; 0: at Ctrl-C."`
	BodyLines int           `default:"20" help:"Lines of each body to print; 0: none."`
	Output    output        `embed:""`
}

// Run receives until it is stopped, or has had as many requests as asked.
func (c *listenCmd) Run(streams IO) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	secrets, err := parseSecrets(c.Secrets)
	if err != nil {
		return err
	}
	n, refused := 0, 0
	r, err := receiver.New(receiver.Config{
		Secrets: secrets, Status: c.Status, Delay: c.Delay, FailFirst: c.FailFirst,
		Told: func(q receiver.Request) {
			if n++; q.Wrong != nil {
				refused++
			}
			c.print(streams.Out, q)
			if n == c.Count {
				stop()
			}
		},
	})
	if err != nil {
		return usageError{fmt.Errorf("--%w", err)}
	}
	server, err := process.NewServer(c.Addr, "addr", r)
	if err != nil {
		return err
	}
	fmt.Fprintf(streams.Err, "listening on http://%s\n", server.Addr())
	if err := server.Run(ctx); err != nil {
		return err
	}
	fmt.Fprintf(streams.Err, "%d requests\n", n)
	if refused > 0 {
		return fmt.Errorf("%d of %d signatures were refused", refused, n)
	}
	return nil
}

// received is a request as JSON.
type received struct {
	At        time.Time       `json:"at"`
	ID        string          `json:"id"`
	EventType string          `json:"event_type"`
	Attempt   int             `json:"attempt"`
	Verdict   string          `json:"verdict"`
	SameBody  bool            `json:"same_body"`
	Status    int             `json:"status"`
	Body      json.RawMessage `json:"body,omitempty"`
}

func (c *listenCmd) print(w io.Writer, q receiver.Request) {
	if c.Output.Format == "json" {
		out := received{q.At.UTC(), q.ID, q.EventType, q.Attempt, q.Verdict(), q.SameBody, q.Status, nil}
		if json.Valid(q.Body) {
			out.Body = q.Body
		}
		line, _ := json.Marshal(out) // cannot fail: every field is plain
		fmt.Fprintf(w, "%s\n", line)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s  attempt %d", q.At.Format("15:04:05.000"), or(q.EventType, "(no type)"), or(q.ID, "(no webhook-id)"), q.Attempt)
	if q.Attempt > 1 && !q.SameBody {
		b.WriteString("  BODY DIFFERS from the first")
	}
	fmt.Fprintf(&b, "  %s  answered %d", q.Verdict(), q.Status)
	fmt.Fprintln(w, printable(b.String()))
	for _, line := range bodyLines(q.Body, c.BodyLines) {
		fmt.Fprintln(w, "    "+printable(line))
	}
}

// bodyLines shows a body: indented if it is JSON, at most limit lines.
func bodyLines(body []byte, limit int) []string {
	if limit <= 0 || len(body) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return []string{fmt.Sprintf("(%d bytes, not text)", len(body))}
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, "", "  ") != nil {
		pretty.Reset()
		pretty.Write(body)
	}
	lines := strings.Split(strings.TrimRight(pretty.String(), "\n"), "\n")
	if len(lines) > limit {
		lines = append(lines[:limit:limit], fmt.Sprintf("... (%d more lines)", len(lines)-limit))
	}
	return lines
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}
