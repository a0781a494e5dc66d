package cli

import (
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// shownBodyLines is how much of an answer's body is shown.
const shownBodyLines = 10

// tried is what is shown of an attempt.
type tried struct {
	sentResult
	RunID                string     `json:"run_id"`
	Cause                string     `json:"cause"`
	Attempt              int        `json:"attempt"`
	Kind                 string     `json:"kind"`
	Status               string     `json:"status"`
	StartedAt            *time.Time `json:"started_at"`
	DueAt                *time.Time `json:"due_at"`
	FinishedAt           *time.Time `json:"finished_at"`
	Lane                 string     `json:"lane"`
	URL                  string     `json:"url"`
	RemoteAddress        string     `json:"remote_address"`
	RequestHeaders       []header   `json:"request_headers"`
	ResponseHeaders      []header   `json:"response_headers"`
	ResponseBody         string     `json:"response_body"`
	ResponseBodyEncoding string     `json:"response_body_encoding"`
	Phases               *phases    `json:"phases"`
	NextAttemptAt        *time.Time `json:"next_attempt_at"`
}

type header struct{ Name, Value string }

type phases struct {
	DNS       float64 `json:"dns_ms"`
	Connect   float64 `json:"connect_ms"`
	TLS       float64 `json:"tls_ms"`
	FirstByte float64 `json:"first_byte_ms"`
	Total     float64 `json:"total_ms"`
	Reused    bool    `json:"reused"`
}

const kindPost = "post"

// result is what came of an attempt in a few words, e.g. "500 in 31 ms".
func (a tried) result() string {
	if a.Kind != kindPost {
		return strings.ReplaceAll(or(a.Kind, "decision"), "_", " ")
	}
	return or(a.answer(), "no answer") + " in " + a.took()
}

// took is how long an attempt was, to a millisecond.
func (a tried) took() string {
	switch {
	case a.Phases != nil && a.Phases.Total > 0:
		return millis(a.Phases.Total)
	case a.StartedAt != nil && a.FinishedAt != nil:
		return millis(float64(a.FinishedAt.Sub(*a.StartedAt)) / float64(time.Millisecond))
	}
	return millis(0)
}

// millis is a time to three digits, e.g. "0.42 ms", "31 ms", "10.0 s".
func millis(ms float64) string {
	switch {
	case ms >= 10_000:
		return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
	case ms >= 10:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
}

// follows is what comes after an attempt. Times are those of at.
func (a tried) follows(at func(*time.Time) string) string {
	switch {
	case a.Status == "retrying" && a.NextAttemptAt != nil:
		return "again at " + at(a.NextAttemptAt)
	case a.Status == "retrying":
		return "again"
	case a.Status == "exhausted":
		return "exhausted, not tried again"
	case a.Status == "suspended":
		return "suspended until it is released"
	}
	return a.Status
}

// printDelivery prints a delivery, then its attempts.
func printDelivery(w io.Writer, d sent, headers bool) error {
	status := d.Status
	if d.SuspendReason != "" {
		status += ": the webhook is " + d.SuspendReason
	}
	attempts := ""
	if d.AttemptCount > 0 {
		attempts = strconv.Itoa(d.AttemptCount)
	}
	run := ""
	if d.Cause != "" && d.Cause != "first" {
		run = d.RunID + " (" + d.Cause + ")"
	}
	err := list(w, [2]string{"id", d.ID}, [2]string{"status", status}, [2]string{"next attempt", when(d.NextAttemptAt)},
		[2]string{"webhook", d.WebhookID}, [2]string{"event", d.EventID}, [2]string{"event type", d.EventType},
		[2]string{"external reference", d.ExternalReference}, [2]string{"run", run}, [2]string{"attempts", attempts},
		[2]string{"created", when(d.CreatedAt)}, [2]string{"updated", when(d.UpdatedAt)})
	for _, a := range d.Attempts {
		if err == nil {
			_, err = io.WriteString(w, "\n"+attemptText(a, headers))
		}
	}
	return err
}

// attemptText shows an attempt on some lines.
func attemptText(a tried, headers bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintln(&b, printable(fmt.Sprintf(format, args...))) }
	what := "attempt " + strconv.Itoa(a.Attempt)
	if a.Cause != "" && a.Cause != "first" {
		what += " of the " + a.Cause
	}
	if a.Kind != kindPost {
		what = strings.ReplaceAll(or(a.Kind, "decision"), "_", " ")
		line("%s  %s: %s", when(a.StartedAt), what, a.follows(when))
	} else {
		line("%s  %s: %s, %s", when(a.StartedAt), what, a.result(), a.follows(when))
		line("    POST %s  %s", a.URL, a.RemoteAddress)
		line("    %s", a.timing())
	}
	if a.Error != "" {
		line("    %s", a.Error)
	}
	if headers {
		for _, h := range a.RequestHeaders {
			line("    > %s: %s", h.Name, h.Value)
		}
		for _, h := range a.ResponseHeaders {
			line("    < %s: %s", h.Name, h.Value)
		}
	}
	for _, l := range bodyLines(a.body(), shownBodyLines) {
		line("    | %s", l)
	}
	return b.String()
}

// timing says where an attempt's time went.
func (a tried) timing() string {
	parts := []string{"lane " + or(a.Lane, "unknown")}
	if late := a.late(); late != "" {
		parts = append(parts, late)
	}
	if p := a.Phases; p != nil {
		if p.Reused {
			parts = append(parts, "open connection used")
		}
		for _, phase := range []struct {
			name string
			ms   float64
		}{{"DNS", p.DNS}, {"connect", p.Connect}, {"TLS", p.TLS}, {"first byte", p.FirstByte}} {
			if phase.ms > 0 {
				parts = append(parts, phase.name+" "+millis(phase.ms))
			}
		}
	}
	return strings.Join(parts, ", ")
}

// late says how long after its due time an attempt began, if that was a second or more.
func (a tried) late() string {
	if a.DueAt == nil || a.StartedAt == nil {
		return ""
	}
	if d := a.StartedAt.Sub(*a.DueAt); d >= time.Second {
		return d.Round(time.Second).String() + " late"
	}
	return ""
}

func (a tried) body() []byte {
	if a.ResponseBodyEncoding == "base64" {
		b, _ := base64.StdEncoding.DecodeString(a.ResponseBody) // what is no base64 is shown as nothing
		return b
	}
	return []byte(a.ResponseBody)
}
