package wire

import (
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

var formats = newNames(map[webhook.Format]pb.PayloadFormat{
	webhook.FormatRaw: pb.PayloadFormat_PAYLOAD_FORMAT_RAW, webhook.FormatStandard: pb.PayloadFormat_PAYLOAD_FORMAT_STANDARD,
	webhook.FormatCloudEvents: pb.PayloadFormat_PAYLOAD_FORMAT_CLOUDEVENTS, webhook.FormatThin: pb.PayloadFormat_PAYLOAD_FORMAT_THIN,
	webhook.FormatHook: pb.PayloadFormat_PAYLOAD_FORMAT_HOOK,
})

// Gone is the record that says that a key of a compacted topic holds nothing any more: a webhook's
// id on `webhooks`, a SettingKey on `settings`.
func Gone(topic, key string) *kgo.Record { return &kgo.Record{Topic: topic, Key: []byte(key)} }

// Webhook is the record of a webhook.
func Webhook(topic string, w webhook.Webhook) (*kgo.Record, error) {
	m := &pb.WebhookRecord{
		Id: w.ID, Tenant: w.Tenant, Name: w.Name, Description: w.Description, Url: w.URL, Active: w.Active, Held: w.Held, Paused: w.Paused,
		EventTypes: w.EventTypes, Filters: w.Filters, Condition: w.Condition, Payload: payloadToProto(w.Payload),
		RetryCount: optional(w.RetryCount), TimeoutSeconds: seconds(w.Timeout),
		RateLimit: uint32(w.RateLimit), MaxInFlight: uint32(w.MaxInFlight), //nolint:gosec // checked to be small and positive
		ExternalReference: w.ExternalReference, Metadata: w.Metadata,
		ApiKeyId: w.APIKeyID, DeveloperClientId: w.DeveloperClientID, ThirdParty: w.ThirdParty,
		Generation: w.Generation, Version: w.Version, CreatedAt: nanos(w.CreatedAt), UpdatedAt: nanos(w.UpdatedAt),
	}
	for _, h := range w.Headers {
		if h.Value.IsPlain() {
			m.Headers = append(m.Headers, &pb.Header{Name: h.Name, Value: string(h.Value.Bytes)})
		} else {
			m.SealedHeaders = append(m.SealedHeaders, &pb.SealedHeader{Name: h.Name, Value: sealedToProto(h.Value)})
		}
	}
	for _, k := range w.SigningKeys {
		m.SigningKeys = append(m.SigningKeys, &pb.SigningKey{
			Scheme: string(k.Scheme), ExpiresAt: nanos(k.ExpiresAt),
			Secret: sealedToProto(k.Secret),
		})
	}
	return kindWebhook.record(topic, w.ID, m)
}

// ReadWebhook decodes a record of `webhooks`; gone says that the webhook of that id was deleted. It
// errs if the record must go to quarantine.
func ReadWebhook(r *kgo.Record) (w webhook.Webhook, gone bool, err error) {
	if r.Value == nil {
		return webhook.Webhook{ID: string(r.Key)}, true, nil
	}
	var m pb.WebhookRecord
	if err := kindWebhook.read(r, &m); err != nil {
		return webhook.Webhook{}, false, err
	}
	w = webhook.Webhook{
		ID: m.Id, Tenant: m.Tenant, Name: m.Name, Description: m.Description, URL: m.Url, Active: m.Active, Held: m.Held, Paused: m.Paused,
		EventTypes: m.EventTypes, Filters: m.Filters, Condition: m.Condition, Payload: payloadFromProto(m.Payload),
		RetryCount: fromOptional(m.RetryCount), Timeout: fromSeconds(m.TimeoutSeconds),
		RateLimit: int(m.RateLimit), MaxInFlight: int(m.MaxInFlight),
		ExternalReference: m.ExternalReference, Metadata: m.Metadata,
		APIKeyID: m.ApiKeyId, DeveloperClientID: m.DeveloperClientId, ThirdParty: m.ThirdParty,
		Generation: m.Generation, Version: m.Version, CreatedAt: at(m.CreatedAt), UpdatedAt: at(m.UpdatedAt),
	}
	w.Headers = headersOf(&m)
	for _, k := range m.SigningKeys {
		w.SigningKeys = append(w.SigningKeys, webhook.SigningKey{
			Scheme: webhook.Scheme(k.GetScheme()), ExpiresAt: at(k.GetExpiresAt()),
			Secret: sealedFromProto(k.GetSecret()),
		})
	}
	return w, false, nil
}

// headersOf are a webhook's headers, in the order of their names where some are sealed and some are not.
func headersOf(m *pb.WebhookRecord) (headers []webhook.Header) {
	for _, h := range m.Headers {
		headers = append(headers, webhook.Header{Name: h.GetName(), Value: webhook.Plain([]byte(h.GetValue()))})
	}
	for _, h := range m.SealedHeaders {
		headers = append(headers, webhook.Header{Name: h.GetName(), Value: sealedFromProto(h.GetValue())})
	}
	if len(m.Headers) > 0 && len(m.SealedHeaders) > 0 {
		slices.SortStableFunc(headers, func(a, b webhook.Header) int { return strings.Compare(a.Name, b.Name) })
	}
	return headers
}

func sealedToProto(s webhook.Sealed) *pb.Sealed { return &pb.Sealed{KeyId: s.KeyID, Value: s.Bytes} }

func sealedFromProto(m *pb.Sealed) webhook.Sealed {
	return webhook.Sealed{KeyID: m.GetKeyId(), Bytes: m.GetValue()}
}

func payloadToProto(p webhook.Payload) *pb.PayloadOptions {
	m := &pb.PayloadOptions{Format: formats.to[p.Format], Stringify: p.Stringify}
	if p.Exclude != nil {
		m.Exclude = &pb.FieldPaths{Paths: *p.Exclude}
	}
	return m
}

func payloadFromProto(m *pb.PayloadOptions) webhook.Payload {
	if m == nil {
		return webhook.Payload{}
	}
	p := webhook.Payload{Format: formats.from[m.Format], Stringify: m.Stringify}
	if m.Exclude != nil {
		paths := m.Exclude.GetPaths()
		if paths == nil {
			paths = []string{}
		}
		p.Exclude = &paths
	}
	return p
}

func optional(n *int) *uint32 {
	if n == nil {
		return nil
	}
	u := uint32(*n) //nolint:gosec // checked to be small and positive
	return &u
}

func fromOptional(u *uint32) *int {
	if u == nil {
		return nil
	}
	n := int(*u)
	return &n
}

func seconds(d *time.Duration) *uint32 {
	if d == nil {
		return nil
	}
	s := int(*d / time.Second)
	return optional(&s)
}

func fromSeconds(u *uint32) *time.Duration {
	if u == nil {
		return nil
	}
	d := time.Duration(*u) * time.Second
	return &d
}
