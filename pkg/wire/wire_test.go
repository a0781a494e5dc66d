package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

var update = flag.Bool("update", false, "write golden files for records that have none yet")

func at(n int) time.Time { return time.Date(2026, 1, 2, 3, 4, 5, n, time.UTC) }

// samples are one noun of each kind with every field set. Maps have one entry: protobuf does not fix
// the order of more.
var (
	sampleEvent = event.Record{
		Event: event.Event{
			ID: "event-1", Tenant: "acme", Type: "card.updated", OccurredAt: at(1), ExternalReference: "card-7",
			Attributes: map[string]string{"eventUser": "545"}, Data: []byte(`{"a": 1.0}`),
		},
		ReceivedAt: at(2), IDAssigned: true, APIKeyID: "key-1", TraceContext: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	sampleDelivery = delivery.Delivery{
		ID: "d-1", Tenant: "acme", EventID: "event-1", EventType: "card.updated", ExternalReference: "card-7", WebhookID: "w-1",
		WebhookPosition: delivery.Position{Topic: "doorstep.webhooks", Partition: 0, Offset: 12},
		EventPosition:   delivery.Position{Topic: "doorstep.events", Partition: 3, Offset: 34},
		FirstPosition:   delivery.Position{Topic: "doorstep.deliveries", Partition: 5, Offset: 56},
		RunID:           "r-1", Cause: delivery.CauseResend, Attempt: 3, TimesParked: 2, PutOffs: 1, PutOffSince: at(3), DueAt: at(4), ReceivedAt: at(5),
		Body: []byte(`{"a": 1.0}`), ContentType: "application/json", TraceContext: "00-0af7-b7ad-01",
		SuspendReason: delivery.SuspendPaused, SuspendedAt: at(6),
	}
	sampleAttempt = delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: "d-1", RunID: "r-1", Cause: delivery.CauseFirst, Attempt: 2, Tenant: "acme", WebhookID: "w-1",
		WebhookGeneration: 4, EventID: "event-1", EventType: "card.updated", Lane: "doorstep.deliveries.1m",
		ReceivedAt: at(1), DueAt: at(2), StartedAt: at(3), FinishedAt: at(4), Status: delivery.Retrying, NextAttemptAt: at(5),
		Position: delivery.Position{Topic: "doorstep.deliveries", Partition: 5, Offset: 56}, Instance: "sender-0", Count: 7, TraceContext: "00-0af7-b7ad-01",
		Outcome: delivery.Outcome{
			URL: "https://example.com/hook", RemoteAddress: "192.0.2.1:443", StatusCode: 503, ErrorCode: "status", Error: "the receiver answered 503",
			RequestHeaders:  []delivery.Header{{Name: "Webhook-Id", Value: "d-1"}},
			ResponseHeaders: []delivery.Header{{Name: "Retry-After", Value: "60"}},
			ResponseBody:    []byte("busy"),
			Phases:          delivery.Phases{DNS: 1, Connect: 2, TLS: 3, FirstByte: 4, Total: 5, Reused: true},
		},
	}
	sampleAttemptOfLater = delivery.Attempt{ // fields added since the golden file of sampleAttempt
		Kind: delivery.KindConditionError, Tenant: "acme", WebhookID: "w-1", EventID: "event-1", EventType: "card.updated", ReceivedAt: at(1), FinishedAt: at(4),
		Count: 7, Counter: "matcher-0.dwm1", Condition: "0123456789abcdef", Outcome: delivery.Outcome{ErrorCode: "condition_error", Error: "no such key: a"},
	}
	sampleNotice = failure.Notice{
		ID: "n-1", Kind: failure.NoticeMailed, Tenant: "acme", WebhookID: "w-1", Generation: 2, FailStreak: 250, FailStreakStartedAt: at(1),
		RaisedAt: at(2), LastStatusCode: 500, LastError: "the receiver answered 500", NoticeID: "n-0", MailTo: "admin@example.com", MailedAt: at(3),
	}
	sampleNoticeOfLater = failure.Notice{ // fields added since the golden file of sampleNotice
		ID: "n-2", Kind: failure.NoticeMailed, Tenant: "acme", WebhookID: "w-1", NoticeID: "n-0", NoticeKind: failure.NoticeExpiry, AdministratorID: "a-1",
		MailTo: "admin@example.com", MailResult: failure.MailFailed, MailError: "550", MailSubject: "subject", MailText: "text", Expiring: 3, ExpiresAt: at(1),
	}
	sampleState = failure.State{
		WebhookID: "w-1", Tenant: "acme", Generation: 2, Version: 77, FailStreak: 250, FailStreakStartedAt: at(1), LastFailedAt: at(2),
		LastFailureAt: at(3), FailureCount: 1000, LastSuccessAt: at(4), Disabled: true, DisabledAt: at(5), DisableReason: failure.DisabledByGone,
		DisabledUntil: at(6), WarnedAt: at(7), LastStatusCode: 410, LastError: "the receiver answered 410", PendingNotices: []failure.Notice{sampleNotice},
	}
	sampleWebhook = webhook.Webhook{
		ID: "w-1", Tenant: "acme", Name: "Cards", Description: "to the planner", URL: "https://example.com/hook", Active: true, Paused: true,
		EventTypes: []string{"card.*", "order.created"}, Filters: map[string]string{"eventUser": "545"}, Condition: `data.a > 1`,
		Headers:    []webhook.Header{{Name: "X-Team", Value: webhook.Plain([]byte("blue"))}},
		Payload:    webhook.Payload{Format: webhook.FormatThin, Exclude: &[]string{"current.email"}, Stringify: new(true)},
		RetryCount: new(0), Timeout: new(30 * time.Second), RateLimit: 5, MaxInFlight: 6, ExternalReference: "ref", Metadata: map[string]string{"k": "v"},
		SigningKeys: []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: webhook.PlainKeyID, Bytes: []byte("not a real secret")}, ExpiresAt: at(1)}},
		APIKeyID:    "key-1", DeveloperClientID: "client-1", ThirdParty: true, Generation: 2, Version: 3, CreatedAt: at(2), UpdatedAt: at(3),
	}
	sampleWebhookOfLater = webhook.Webhook{ID: "w-2", Held: true} // fields added since the golden file of sampleWebhook
	sampleWebhookSealed  = webhook.Webhook{                       // fields added since the golden file of sampleWebhookOfLater
		ID: "w-3",
		Headers: []webhook.Header{
			{Name: "Authorization", Value: webhook.Sealed{KeyID: "k20260304", Bytes: []byte{0, 1, 255}}}, {Name: "X-Team", Value: webhook.Plain([]byte("blue"))},
			{Name: "X-Token", Value: webhook.Sealed{KeyID: "k2", Bytes: []byte{2}}},
		},
		SigningKeys: []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: "k20260304", Bytes: []byte{3, 0}}}},
	}
	sampleTenant = tenant.Tenant{
		ID: "acme", Name: "Acme", Open: true,
		Policy:  tenant.Policy{WarnAfter: new(1), DisableAfter: new(2), MaxWebhooksPerEvent: new(10), RetryCount: new(3), Timeout: new(5 * time.Second), Reactivation: "console"},
		Payload: webhook.Payload{Format: webhook.FormatRaw, Exclude: &[]string{}}, Features: map[string]bool{"webhooks": true}, Profile: "planmill",
		Version: 9, CreatedAt: at(1), UpdatedAt: at(2),
	}
	sampleTenantOfLater = tenant.Tenant{ // fields added since the golden file of sampleTenant
		ID: "acme", Policy: tenant.Policy{KeepAnswers: new(false)}, Version: 10,
	}
	sampleTenantThatValidates = tenant.Tenant{ // fields added since the golden file of sampleTenantOfLater
		ID: "acme", Policy: tenant.Policy{Validate: "warn"}, Version: 11,
	}
	sampleKey = tenant.APIKey{
		ID: "key-1", Tenant: "acme", Name: "CI", Prefix: "dsk_abcd", Hash: [32]byte{1, 2, 3}, Scopes: tenant.Scopes(), DeveloperClientID: "client-1",
		Version: 4, CreatedAt: at(1), ExpiresAt: at(2),
	}
	sampleAdministrator        = tenant.Administrator{ID: "a-1", Tenant: "acme", Email: "admin@example.com", Name: "Admin", Language: "en", Notices: []string{"warning"}, Version: 5}
	sampleAdministratorOfLater = tenant.Administrator{ID: "a-1", Version: 6, CreatedAt: at(1), UpdatedAt: at(2)} // likewise
	sampleType                 = tenant.EventType{
		Tenant: "acme", Type: "card.updated", Group: "Card", Description: "a card changed", Kind: "normal", Schema: []byte(`{}`), Example: []byte(`{"id":1}`),
		Deprecated: true, Attributes: []string{"eventUser"}, Version: 6,
	}
	sampleTypeOfLater = tenant.EventType{Tenant: "acme", Type: "a.b", Profile: "vplan", Version: 7, CreatedAt: at(1), UpdatedAt: at(2)} // likewise
	sampleQuarantined = wire.Quarantined{
		Position: delivery.Position{Topic: "doorstep.events", Partition: 1, Offset: 2}, Reason: "header is missing", Reader: "matcher", QuarantinedAt: at(1),
		Key: []byte("k"), Value: []byte{0xff}, Headers: []delivery.Header{{Name: "h", Value: "v"}},
	}
)

// codec is how one kind of record is written and read.
type codec struct {
	want  any
	write func() (*kgo.Record, error)
	read  func(*kgo.Record) (any, error)
}

func as[T any](read func(*kgo.Record) (T, error)) func(*kgo.Record) (any, error) {
	return func(r *kgo.Record) (any, error) { return read(r) }
}

func readWebhook(r *kgo.Record) (any, error) {
	w, gone, err := wire.ReadWebhook(r)
	if gone {
		err = errors.New("gone")
	}
	return w, err
}

func codecs() map[string]codec {
	return map[string]codec{
		"event":                       {sampleEvent, func() (*kgo.Record, error) { return wire.Event("t", sampleEvent) }, as(wire.ReadEvent)},
		"delivery":                    {sampleDelivery, func() (*kgo.Record, error) { return wire.Delivery("t", sampleDelivery) }, as(wire.ReadDelivery)},
		"attempt":                     {sampleAttempt, func() (*kgo.Record, error) { return wire.Attempt("t", sampleAttempt) }, as(wire.ReadAttempt)},
		"state":                       {sampleState, func() (*kgo.Record, error) { return wire.State("t", sampleState) }, as(wire.ReadState)},
		"notice":                      {sampleNotice, func() (*kgo.Record, error) { return wire.Notice("t", sampleNotice) }, as(wire.ReadNotice)},
		"webhook":                     {sampleWebhook, func() (*kgo.Record, error) { return wire.Webhook("t", sampleWebhook) }, readWebhook},
		"webhook-later":               {sampleWebhookOfLater, func() (*kgo.Record, error) { return wire.Webhook("t", sampleWebhookOfLater) }, readWebhook},
		"webhook-sealed":              {sampleWebhookSealed, func() (*kgo.Record, error) { return wire.Webhook("t", sampleWebhookSealed) }, readWebhook},
		"setting-tenant":              {sampleTenant, func() (*kgo.Record, error) { return wire.Tenant("t", sampleTenant) }, wire.ReadSetting},
		"setting-tenant-later":        {sampleTenantOfLater, func() (*kgo.Record, error) { return wire.Tenant("t", sampleTenantOfLater) }, wire.ReadSetting},
		"setting-tenant-validates":    {sampleTenantThatValidates, func() (*kgo.Record, error) { return wire.Tenant("t", sampleTenantThatValidates) }, wire.ReadSetting},
		"setting-api-key":             {sampleKey, func() (*kgo.Record, error) { return wire.APIKey("t", sampleKey) }, wire.ReadSetting},
		"setting-administrator":       {sampleAdministrator, func() (*kgo.Record, error) { return wire.Administrator("t", sampleAdministrator) }, wire.ReadSetting},
		"attempt-later":               {sampleAttemptOfLater, func() (*kgo.Record, error) { return wire.Attempt("t", sampleAttemptOfLater) }, as(wire.ReadAttempt)},
		"notice-later":                {sampleNoticeOfLater, func() (*kgo.Record, error) { return wire.Notice("t", sampleNoticeOfLater) }, as(wire.ReadNotice)},
		"setting-administrator-later": {sampleAdministratorOfLater, func() (*kgo.Record, error) { return wire.Administrator("t", sampleAdministratorOfLater) }, wire.ReadSetting},
		"setting-event-type":          {sampleType, func() (*kgo.Record, error) { return wire.EventType("t", sampleType) }, wire.ReadSetting},
		"setting-event-type-later":    {sampleTypeOfLater, func() (*kgo.Record, error) { return wire.EventType("t", sampleTypeOfLater) }, wire.ReadSetting},
		"quarantine": {sampleQuarantined, func() (*kgo.Record, error) {
			r := &kgo.Record{Topic: "doorstep.events", Partition: 1, Offset: 2, Key: []byte("k"), Value: []byte{0xff}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}}
			return wire.Quarantine("t", "matcher", r, errors.New("header is missing"), at(1))
		}, as(wire.ReadQuarantine)},
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for name, c := range codecs() {
		t.Run(name, func(t *testing.T) {
			r, err := c.write()
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.read(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The golden files hold records as they were written at some time. They are never changed: a new
// field adds a file.
func TestRecordsOfOldDecode(t *testing.T) {
	for name, c := range codecs() {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".1.golden")
			b, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) && *update {
				r, err := c.write()
				if err != nil {
					t.Fatal(err)
				}
				b = fmt.Appendf(nil, "key %s\n%s %s\nvalue %s\n", r.Key, r.Headers[0].Key, r.Headers[0].Value, hex.EncodeToString(r.Value))
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			got, err := c.read(parseGolden(t, string(b)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("a record of old reads otherwise: %s", diff)
			}
		})
	}
}

func parseGolden(t *testing.T, s string) *kgo.Record {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(s), "\n")
	name, version, _ := strings.Cut(lines[1], " ")
	value, err := hex.DecodeString(strings.TrimPrefix(lines[2], "value "))
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Key: []byte(strings.TrimPrefix(lines[0], "key ")), Value: value, Headers: []kgo.RecordHeader{{Key: name, Value: []byte(version)}}}
}

// A program that is older than the record's writer carries on what it does not know.
func TestUnknownFieldsSurvive(t *testing.T) {
	extra := protowire.AppendTag(nil, 999, protowire.BytesType)
	extra = protowire.AppendString(extra, "from the future")

	r, err := wire.Delivery("t", sampleDelivery)
	if err != nil {
		t.Fatal(err)
	}
	r.Value = append(r.Value, extra...)
	d, err := wire.ReadDelivery(r)
	if err != nil {
		t.Fatal(err)
	}
	d.Attempt++
	again, err := wire.Delivery("t", d)
	if err != nil || !bytes.HasSuffix(again.Value, extra) {
		t.Errorf("delivery: the unknown field is gone: %v %x", err, again.Value)
	}

	b, err := wire.EncodeState(sampleState)
	if err != nil {
		t.Fatal(err)
	}
	s, err := wire.DecodeState(append(b, extra...))
	if err != nil {
		t.Fatal(err)
	}
	s.FailStreak++
	if b, err = wire.EncodeState(s); err != nil || !bytes.HasSuffix(b, extra) {
		t.Errorf("state: the unknown field is gone: %v %x", err, b)
	}
}

func TestUnreadableRecordsSayWhy(t *testing.T) {
	good, err := wire.Delivery("t", sampleDelivery)
	if err != nil {
		t.Fatal(err)
	}
	with := func(header string, value []byte) *kgo.Record {
		return &kgo.Record{Value: value, Headers: []kgo.RecordHeader{{Key: wire.HeaderRecord, Value: []byte(header)}}}
	}
	for name, tt := range map[string]struct {
		record *kgo.Record
		want   string
	}{
		"no header":     {&kgo.Record{Value: good.Value}, "doorstep-record is missing"},
		"another kind":  {with("event/1", good.Value), "names something else"},
		"newer version": {with("delivery/2", good.Value), "version 2 is not known"},
		"nonsense":      {with("delivery/1", []byte{0xff, 0xff}), "value of 2 bytes does not decode"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := wire.ReadDelivery(tt.record); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := wire.ReadSetting(with("setting/1", nil)); !errors.Is(err, nil) {
		t.Errorf("a gone setting: %v", err)
	}
	if _, err := wire.ReadSetting(with("setting/1", []byte{})); !errors.Is(err, wire.ErrUnknownSetting) {
		t.Errorf("a setting of an unknown kind: %v", err)
	}
	if _, gone, err := wire.ReadWebhook(wire.Gone("t", "w-1")); !gone || err != nil {
		t.Errorf("a gone webhook: %v, %v", gone, err)
	}
}

func TestTopicNames(t *testing.T) {
	schedule, err := retry.Parse("1m,300s,60m,60s")
	if err != nil {
		t.Fatal(err)
	}
	topics, err := wire.NewTopics("p.", schedule)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"p.deliveries", "p.deliveries.parked", "p.deliveries.parked.5m", "p.deliveries.1m", "p.deliveries.5m", "p.deliveries.60m"}
	if diff := cmp.Diff(want, topics.Lanes()); diff != "" {
		t.Error(diff)
	}
	if _, err := wire.NewTopics("no spaces", schedule); err == nil {
		t.Error("a prefix with a space was accepted")
	}
}

// FuzzRead: no bytes of a record crash a reader, and what is read is written again.
func FuzzRead(f *testing.F) {
	for _, c := range codecs() {
		if r, err := c.write(); err == nil {
			f.Add(r.Value)
		}
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for name, c := range codecs() {
			kind, _, _ := strings.Cut(name, "-")
			r := &kgo.Record{Value: value, Headers: []kgo.RecordHeader{{Key: wire.HeaderRecord, Value: []byte(kind + "/1")}}}
			got, err := c.read(r)
			if err != nil {
				continue
			}
			if d, ok := got.(delivery.Delivery); ok {
				if _, err := wire.Delivery("t", d); err != nil {
					t.Fatalf("a delivery that was read cannot be written: %v", err)
				}
			}
		}
	})
}
