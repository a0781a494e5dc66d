package console

import (
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Delivery is one event for one webhook, and how far its latest run has come.
type Delivery struct {
	ID                string                 `json:"id" format:"uuid" doc:"The same for every run and attempt; receivers get it as webhook-id"`
	WebhookID         string                 `json:"webhook_id" doc:"Empty: it stands for all webhooks that the event was not sent to because there were too many (capped)"`
	EventID           string                 `json:"event_id"`
	EventType         string                 `json:"event_type"`
	ExternalReference string                 `json:"external_reference"`
	Status            delivery.Status        `json:"status" enum:"pending,retrying,delivered,exhausted,suspended,cancelled,discarded,capped"`
	Cause             delivery.Cause         `json:"cause" enum:"first,resend,recover,release,test" doc:"Why the latest run was started"`
	RunID             string                 `json:"run_id" doc:"The latest run"`
	AttemptCount      int                    `json:"attempt_count" doc:"POSTs of all runs"`
	NextAttemptAt     *time.Time             `json:"next_attempt_at"`
	SuspendReason     delivery.SuspendReason `json:"suspend_reason" doc:"Of a suspended one: disabled, inactive or paused"`
	CreatedAt         time.Time              `json:"created_at" doc:"When its event was received"`
	UpdatedAt         time.Time              `json:"updated_at" doc:"When it came to its status"`
	ExpiresAt         *time.Time             `json:"expires_at,omitempty" doc:"Of a suspended one: from then on its payload may be gone, and it can be released no more"`
	Expired           bool                   `json:"expired,omitempty" doc:"True: it is suspended, and that time has come"`
	LastAttempt       *LastAttempt           `json:"last_attempt,omitempty" doc:"The last POST; absent: none was made"`
}

// LastAttempt is what a list says of a delivery's last POST.
type LastAttempt struct {
	StartedAt  time.Time `json:"started_at"`
	StatusCode int       `json:"status_code" doc:"0: no answer"`
	ErrorCode  string    `json:"error_code" doc:"Empty: it was accepted"`
	Error      string    `json:"error" doc:"The same in words, and what to do about it"`
}

// DeliveryDetail is a delivery with its attempts.
type DeliveryDetail struct {
	Delivery
	Attempts []Attempt `json:"attempts" doc:"Of every run, oldest first; decisions without a POST too"`
}

// Attempt is one POST and what came of it, or a decision without one.
type Attempt struct {
	RunID                string          `json:"run_id"`
	Cause                delivery.Cause  `json:"cause" enum:"first,resend,recover,release,test"`
	Attempt              int             `json:"attempt" doc:"Within its run, from 1"`
	Kind                 delivery.Kind   `json:"kind" enum:"post,decision,capped,condition_error" doc:"post: a POST was made or tried; else nothing was sent"`
	Status               delivery.Status `json:"status" doc:"Of the delivery after this"`
	StartedAt            *time.Time      `json:"started_at"`
	DueAt                *time.Time      `json:"due_at" doc:"When it was to be made; null: at once"`
	FinishedAt           *time.Time      `json:"finished_at"`
	Lane                 string          `json:"lane" doc:"What held it until it was due: immediate, the delay of its tier, e.g. 5m, or parked"`
	URL                  string          `json:"url"`
	RemoteAddress        string          `json:"remote_address" doc:"That was dialled"`
	StatusCode           int             `json:"status_code" doc:"0: no answer"`
	ErrorCode            string          `json:"error_code" doc:"Empty: it was accepted"`
	Error                string          `json:"error" doc:"The same in words, and what to do about it"`
	RequestHeaders       []Header        `json:"request_headers" doc:"As sent, secret parts masked"`
	ResponseHeaders      []Header        `json:"response_headers"`
	ResponseBody         string          `json:"response_body" doc:"Its first bytes"`
	ResponseBodyEncoding string          `json:"response_body_encoding,omitempty" enum:"base64" doc:"Absent: it is text"`
	Phases               *Phases         `json:"phases,omitempty" doc:"Absent: nothing was sent"`
	NextAttemptAt        *time.Time      `json:"next_attempt_at"`
	Count                int             `json:"count,omitempty" doc:"Of a capped one: the webhooks that were cut. Of a condition_error: how often the condition failed, as one matcher has counted"`
	Instance             string          `json:"instance" doc:"The sender that made it"`
}

// Header is one HTTP header.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Phases are the parts of an attempt's time, in milliseconds; 0 for those that did not take place.
type Phases struct {
	DNS       float64 `json:"dns_ms"`
	Connect   float64 `json:"connect_ms"`
	TLS       float64 `json:"tls_ms"`
	FirstByte float64 `json:"first_byte_ms" doc:"From the request written to the answer's first byte"`
	Total     float64 `json:"total_ms"`
	Reused    bool    `json:"reused" doc:"The connection was used before"`
}

// deliveryView is a delivery as the API shows it at now.
func deliveryView(d history.Delivery, now time.Time) Delivery {
	v := Delivery{
		ID: d.ID, WebhookID: d.WebhookID, EventID: d.EventID, EventType: d.EventType, ExternalReference: d.ExternalReference,
		Status: d.Status, Cause: d.Cause, RunID: d.RunID, NextAttemptAt: orNull(d.NextAttemptAt), SuspendReason: d.SuspendReason,
		CreatedAt: d.ReceivedAt, UpdatedAt: updatedAt(d),
	}
	if d.Status == delivery.Suspended {
		at := expiresAt(d.UpdatedAt)
		v.ExpiresAt, v.Expired = &at, !now.Before(at)
	}
	return v
}

// updatedAt is when a delivery came to its status: while it is pending, when the run was started.
func updatedAt(d history.Delivery) time.Time {
	if !d.UpdatedAt.IsZero() {
		return d.UpdatedAt
	}
	if started, ok := delivery.RunStartedAt(d.RunID); ok {
		return started
	}
	return d.ReceivedAt
}

func listedView(d sqlhistory.ListedDelivery, now time.Time) Delivery {
	v := deliveryView(d.Delivery, now)
	v.AttemptCount = d.Attempts
	if d.Attempts > 0 {
		v.LastAttempt = lastAttempt(d.LastAttempt)
	}
	return v
}

func listedViews(listed []sqlhistory.ListedDelivery, now time.Time) []Delivery {
	views := make([]Delivery, len(listed))
	for i, d := range listed {
		views[i] = listedView(d, now)
	}
	return views
}

func lastAttempt(a history.Attempt) *LastAttempt {
	return &LastAttempt{StartedAt: a.StartedAt, StatusCode: a.Outcome.StatusCode, ErrorCode: a.Outcome.ErrorCode, Error: a.Outcome.Error}
}

// detailView is a delivery at now with its attempts, which come by their start.
func detailView(d history.Delivery, attempts []history.Attempt, topics wire.Topics, now time.Time) DeliveryDetail {
	v := DeliveryDetail{Delivery: deliveryView(d, now), Attempts: make([]Attempt, len(attempts))}
	for i, a := range attempts {
		v.Attempts[i] = attemptView(a.Attempt, topics)
		if a.Kind == delivery.KindPost {
			v.AttemptCount++
			v.LastAttempt = lastAttempt(a)
		}
	}
	return v
}

func attemptView(a delivery.Attempt, topics wire.Topics) Attempt {
	o := a.Outcome
	v := Attempt{
		RunID: a.RunID, Cause: a.Cause, Attempt: a.Attempt, Kind: a.Kind, Status: a.Status,
		StartedAt: orNull(a.StartedAt), DueAt: orNull(a.DueAt), FinishedAt: orNull(a.FinishedAt), Lane: laneName(a.Lane, topics),
		URL: o.URL, RemoteAddress: o.RemoteAddress, StatusCode: o.StatusCode, ErrorCode: o.ErrorCode, Error: o.Error,
		RequestHeaders: headerViews(o.RequestHeaders), ResponseHeaders: headerViews(o.ResponseHeaders),
		NextAttemptAt: orNull(a.NextAttemptAt), Count: a.Count, Instance: a.Instance,
	}
	v.ResponseBody, v.ResponseBodyEncoding = bodyText(o.ResponseBody)
	if p := o.Phases; a.Kind == delivery.KindPost {
		v.Phases = &Phases{
			DNS: millis(p.DNS), Connect: millis(p.Connect), TLS: millis(p.TLS), FirstByte: millis(p.FirstByte), Total: millis(p.Total),
			Reused: p.Reused,
		}
	}
	return v
}

// laneName is a lane as people know it; topics of another configuration keep their names.
func laneName(topic string, topics wire.Topics) string {
	if topic == topics.Deliveries {
		return "immediate"
	}
	if topic == topics.ParkedLong.Topic {
		return laneName(topics.Parked.Topic, topics)
	}
	return strings.TrimPrefix(topic, topics.Deliveries+".")
}

func headerViews(headers []delivery.Header) []Header {
	views := make([]Header, len(headers))
	for i, h := range headers {
		views[i] = Header(h)
	}
	return views
}

// bodyText is the start of a body as text, without a character that the cut went through, else in base64.
func bodyText(b []byte) (text, encoding string) {
	whole := b
	for i := len(b) - 1; i >= 0 && len(b)-i < utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				whole = b[:i]
			}
			break
		}
	}
	if utf8.Valid(whole) {
		return string(whole), ""
	}
	return base64.StdEncoding.EncodeToString(b), "base64"
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
