package sqlhistory

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
)

// detail is what of an attempt has no column: nothing is looked for by it. Stored rows have these names,
// so they stay; times are Unix nanoseconds, durations nanoseconds. What is zero is left out.
type detail struct {
	Cause             delivery.Cause `json:"cause,omitempty"`
	EventType         string         `json:"event_type,omitempty"`
	WebhookGeneration uint64         `json:"webhook_generation,omitempty"`
	Lane              string         `json:"lane,omitempty"`
	DueAt             int64          `json:"due_at,omitempty"`
	NextAttemptAt     int64          `json:"next_attempt_at,omitempty"`
	Position          *position      `json:"position,omitempty"`
	Instance          string         `json:"instance,omitempty"`
	Count             int            `json:"count,omitempty"`
	TraceContext      string         `json:"trace_context,omitempty"`
	URL               string         `json:"url,omitempty"`
	RemoteAddress     string         `json:"remote_address,omitempty"`
	Error             string         `json:"error,omitempty"`
	RetryAfter        time.Duration  `json:"retry_after,omitempty"`
	RequestHeaders    [][2]string    `json:"request_headers,omitempty"` // name and value
	ResponseHeaders   [][2]string    `json:"response_headers,omitempty"`
	ResponseBody      []byte         `json:"response_body,omitempty"` // base64
	Phases            phases         `json:"phases,omitzero"`
}

type position struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

type phases struct {
	DNS       time.Duration `json:"dns,omitempty"`
	Connect   time.Duration `json:"connect,omitempty"`
	TLS       time.Duration `json:"tls,omitempty"`
	FirstByte time.Duration `json:"first_byte,omitempty"`
	Total     time.Duration `json:"total,omitempty"`
	Reused    bool          `json:"reused,omitempty"`
}

// decodeDetail sets what encodeDetail has stored. Fields that it does not know are left alone: a newer
// version has written them.
func decodeDetail(text []byte, a *history.Attempt) error {
	var d detail
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("detail of attempt: %w", err)
	}
	a.Cause, a.EventType, a.WebhookGeneration, a.Lane = d.Cause, d.EventType, d.WebhookGeneration, d.Lane
	a.DueAt, a.NextAttemptAt = stamp(d.DueAt), stamp(d.NextAttemptAt)
	a.Instance, a.Count, a.TraceContext = d.Instance, d.Count, d.TraceContext
	a.Outcome.URL, a.Outcome.RemoteAddress, a.Outcome.Error, a.Outcome.RetryAfter = d.URL, d.RemoteAddress, d.Error, d.RetryAfter
	a.Outcome.RequestHeaders, a.Outcome.ResponseHeaders = headers(d.RequestHeaders), headers(d.ResponseHeaders)
	a.Outcome.ResponseBody, a.Outcome.Phases = d.ResponseBody, delivery.Phases(d.Phases)
	if d.Position != nil {
		a.Position = delivery.Position(*d.Position)
	}
	return nil
}

// detailOf scans the column detail of an attempt.
type detailOf struct{ a *history.Attempt }

// Scan reads a stored detail.
func (d detailOf) Scan(v any) error {
	switch text := v.(type) {
	case string:
		return decodeDetail([]byte(text), d.a)
	case []byte:
		return decodeDetail(text, d.a)
	}
	return fmt.Errorf("detail of attempt is a %T", v)
}

func headers(list [][2]string) []delivery.Header {
	var out []delivery.Header
	for _, h := range list {
		out = append(out, delivery.Header{Name: h[0], Value: h[1]})
	}
	return out
}
