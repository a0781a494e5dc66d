package sqlhistory_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory/sqlhistorytest"
)

// goldenDetail is frozen: rows that were written with it must be read by later versions.
const goldenDetail = `{"cause":"resend","event_type":"card.updated","webhook_generation":5,"lane":"doorstep.deliveries.5m",` +
	`"due_at":1795348800000000008,"next_attempt_at":1795352400000000007,` +
	`"position":{"topic":"doorstep.deliveries","partition":11,"offset":1099511627776},"instance":"sender-0","count":7,` +
	`"trace_context":"00-01-02-01","url":"https://example.com/a?b=\u003cc\u003e","remote_address":"203.0.113.7:443",` +
	`"error":"Der Empfänger antwortete 503.","retry_after":60000000000,` +
	`"request_headers":[["Webhook-Id","a9447106-08a3-50e3-919b-885b6fbe191a"],["Authorization","***"]],` +
	`"response_headers":[["Retry-After","60"],["X",""]],"response_body":"AAH+/yI=",` +
	`"phases":{"dns":1,"connect":2,"tls":3,"first_byte":4,"total":5,"reused":true}}`

func TestDetailIsFrozen(t *testing.T) {
	whole := history.Attempt{Attempt: sqlhistorytest.Whole()}
	if diff := cmp.Diff(goldenDetail, sqlhistory.EncodeDetail(whole)); diff != "" {
		t.Error(diff)
	}
	want := delivery.Attempt{
		Cause: whole.Cause, EventType: whole.EventType, WebhookGeneration: whole.WebhookGeneration, Lane: whole.Lane, DueAt: whole.DueAt,
		NextAttemptAt: whole.NextAttemptAt, Position: whole.Position, Instance: whole.Instance, Count: whole.Count,
		TraceContext: whole.TraceContext, Outcome: whole.Outcome,
	}
	want.Outcome.StatusCode, want.Outcome.ErrorCode = 0, "" // columns
	for name, text := range map[string]string{
		"as written":         goldenDetail,
		"by a newer version": goldenDetail[:len(goldenDetail)-1] + `,"colour":{"red":[1]}}`,
	} {
		var got history.Attempt
		if err := sqlhistory.DecodeDetail(text, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got.Attempt); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDetailOfNothingIsShort(t *testing.T) {
	if got := sqlhistory.EncodeDetail(history.Attempt{}); got != "{}" {
		t.Error(got)
	}
}

// What is stored is what encoding/json makes of it, whatever a receiver answers.
func TestDetailIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("ab<>&\"\\/\x00\x1f\x7f\u2028é\n"))),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		)
		number := rapid.Int64Range(0, 3)
		a := history.Attempt{Attempt: delivery.Attempt{
			EventType: text.Draw(t, "type"), WebhookGeneration: rapid.Uint64().Draw(t, "generation"), Lane: text.Draw(t, "lane"),
			Count: int(number.Draw(t, "count")), Instance: text.Draw(t, "instance"),
			Position: delivery.Position{Topic: text.Draw(t, "topic"), Offset: number.Draw(t, "offset")},
			Outcome: delivery.Outcome{
				URL: text.Draw(t, "url"), Error: text.Draw(t, "error"), RetryAfter: time.Duration(number.Draw(t, "retry after")),
				ResponseBody: rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "body"),
				Phases:       delivery.Phases{DNS: time.Duration(number.Draw(t, "dns")), Reused: rapid.Bool().Draw(t, "reused")},
			},
		}}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			a.Outcome.ResponseHeaders = append(a.Outcome.ResponseHeaders, delivery.Header{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")})
		}
		stored := sqlhistory.EncodeDetail(a)
		want, err := sqlhistory.DetailAsJSON(stored)
		plain := strings.NewReplacer(`\ufffd`, "\uFFFD") // what was not UTF-8, read and written again
		if err != nil || plain.Replace(stored) != plain.Replace(want) {
			t.Fatalf("%v: stored\n%s, encoding/json says\n%s", err, stored, want)
		}
		var got history.Attempt
		if err := sqlhistory.DecodeDetail(stored, &got); err != nil || got.Outcome.Phases != a.Outcome.Phases || !bytes.Equal(got.Outcome.ResponseBody, a.Outcome.ResponseBody) {
			t.Fatalf("%v: read back %+v", err, got)
		}
		if utf8.ValidString(a.Outcome.URL) && got.Outcome.URL != a.Outcome.URL {
			t.Fatalf("URL %q, want %q", got.Outcome.URL, a.Outcome.URL)
		}
	})
}
