package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/metadata"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// misuse makes every kind of request that is refused, with a mark in what is wrong with it.
func (d *driven) misuse() {
	d.t.Helper()
	p, m, data := d.p, d.p.misuse, d.p.badData
	id := d.hooks["ok"].ID
	hookWith := func(fields string) string {
		return fmt.Sprintf(`{"url":%q,"event_types":["x.y"],%s}`, d.receiver.URL+"/ok", fields)
	}
	for _, r := range []request{
		{"GET", "webhooks", p.wrongKey, "", nil},
		{"GET", "webhooks", "", "", map[string]string{"Authorization": "Basic " + p.wrongKey}},
		{"GET", "webhooks", "", "", map[string]string{"Authorization": p.wrongKey}},
		{"GET", "webhooks?key=" + p.wrongKey, p.platformKey, "", nil},
		{"GET", "webhooks", p.platformKey, "", map[string]string{"Doorstep-Tenant": "T " + m}},
		{"POST", "webhooks", d.readOnly, hookWith(`"name":"` + m + `"`), nil},
		{"POST", "webhooks", p.platformKey, `{"url": "` + m, nil},
		{"POST", "webhooks", p.platformKey, `{"url": ` + m + `}`, nil},
		{"POST", "webhooks", p.platformKey, `{"url":{"a":"` + m + `"}}`, nil},
		{"POST", "webhooks", p.platformKey, `["` + m + `"]`, nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"secret":"` + p.wrongSecret + `"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"secret":"whsec_` + p.wrongSecret + `"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"retry_count":"` + m + `"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"headers":{"X-A":"` + m + `\u0001"}`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"headers":{"Host":"` + m + `"}`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"headers":{"X-A":{"b":"` + m + `"}}`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"name":"\u0000` + m + `"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"name":"` + strings.Repeat(m, 20) + `"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"payload":{"format":"` + m + `"}`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"condition":"data.x == '` + m + `"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"condition":"'` + m + `'"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"condition":"data.x + 1 == size('` + m + `') && nothing"`), nil},
		{"POST", "webhooks", p.platformKey, hookWith(`"filters":{"a":["` + m + `"]}`), nil},
		{"POST", "webhooks", p.platformKey, `{"event_types":["x.y"],"url":"http://u:` + p.refusedUserinfo + `@127.0.0.1:9000/"}`, nil},
		{"POST", "webhooks", p.platformKey, `{"event_types":["x.y"],"url":"http://` + p.refusedUserinfo + `@127.0.0.1:9000/"}`, nil},
		{"POST", "webhooks", p.platformKey, `{"event_types":["x.y"],"url":"https://user:%zz` + p.refusedUserinfo + `@a.example/"}`, nil},
		{"POST", "webhooks", p.platformKey, `{"event_types":["x.y"],"url":"ftp://a.example/` + m + `"}`, nil},
		{"POST", "webhooks", p.platformKey, `{"event_types":["x.y"],"url":"https://10.0.0.1/` + m + `?t=` + m + `"}`, nil},
		{"POST", "webhooks", p.platformKey, `{"event_types":["x.y"],"url":"https://a.example:22/` + m + `"}`, nil},
		{"POST", "webhooks", p.platformKey, `{"event_types":["x.y"],"url":"https://a.example/%zz` + m + `"}`, nil},
		{"POST", "webhooks", p.platformKey, strings.Repeat("["+m+",", 30_000), nil},
		{"PATCH", "webhooks/" + id, p.platformKey, `{"secret":"` + p.wrongSecret + `"}`, nil},
		{"PATCH", "webhooks/" + id, p.platformKey, `{"headers":{"X-A":7}, "url":"` + m + `"}`, nil},
		{"POST", "webhooks/" + id + "/rotate-secret", p.platformKey, `{"secret":"` + p.wrongSecret + `"}`, nil},
		{"POST", "webhooks/" + id + "/rotate-secret", p.platformKey, `{"secret":"` + p.signingSecret + `"}`, nil},
		{"GET", "webhooks/" + m, p.platformKey, "", nil},
		{"GET", "webhooks?cursor=" + m, p.platformKey, "", nil},
		{"GET", "webhooks?limit=" + m, p.platformKey, "", nil},
		{"GET", "deliveries?cursor=" + m, p.platformKey, "", nil},
		{"GET", "deliveries?filter[status]=" + m, p.platformKey, "", nil},
		{"GET", "deliveries?filter[webhook_id]=" + m, p.platformKey, "", nil},
		{"GET", "deliveries?filter[event_type]=" + url.QueryEscape(m+"' OR 1=1 --"), p.platformKey, "", nil},
		{"GET", "deliveries?filter[created_at][gte]=" + m, p.platformKey, "", nil},
		{"GET", "deliveries?sort=" + m, p.platformKey, "", nil},
		{"GET", "events?filter[type]=" + m, p.platformKey, "", nil},
		{"GET", "events/" + url.PathEscape(m+"' OR '1'='1"), p.platformKey, "", nil},
		{"GET", "deliveries/" + url.PathEscape(m+"'; DROP TABLE deliveries; --"), p.platformKey, "", nil},
		{"GET", "mails?cursor=" + m, p.platformKey, "", nil},
		{"GET", "jobs?cursor=" + m, p.platformKey, "", nil},
		{"GET", "attempts/tail?filter[status]=" + m, p.platformKey, "", nil},
		{"GET", "audit?from=" + m, p.platformKey, "", nil},
		{"POST", "events", p.platformKey, `{"type":"a.b","data":` + data + `}`, nil},
		{"POST", "events", p.platformKey, `{"type":"` + m + ` ","data":{}}`, nil},
		{"POST", "events", p.platformKey, `{"type":"a.b","id":"a.` + m + `","data":{}}`, nil},
		{"POST", "events", p.platformKey, `{"type":"a.b","occurred_at":"` + m + `","data":{}}`, nil},
		{"POST", "events", p.platformKey, `{"type":"a.b","attributes":{"a":["` + m + `"]}}`, nil},
		{"POST", "events", p.platformKey, `{"type":"a.b","data":"` + strings.Repeat(data, 11_000) + `"}`, nil},
		{"POST", "events", p.platformKey, strings.Repeat(data, 400_000), nil},
		{"POST", "api-keys", p.platformKey, `{"name":"x","scopes":["events"],"expires_at":"` + m + `"}`, nil},
		{"POST", "administrators", p.platformKey, `{"email":"` + m + `"}`, nil},
		{"POST", "administrators", p.platformKey, `{"email":"` + p.email + `@example.com"}`, nil},
		{"POST", "tenants", p.platformKey, `{"id":"` + m + `"}`, nil},
		{"POST", "webhooks/" + id + "/release", p.platformKey, `{"event_types":["` + m + `"]}`, nil},
		{"GET", "../../" + m, p.platformKey, "", nil},
		{"DELETE", "events/" + m, p.platformKey, "", nil},
	} {
		if r.method == http.MethodPatch && r.header == nil {
			r.header = map[string]string{"Content-Type": "application/merge-patch+json"}
		}
		if status, answer := d.do(r); status < http.StatusBadRequest {
			d.t.Errorf("%s %.200s is not refused: %d %s", r.method, r.path+" "+r.body, status, answer)
		}
	}
}

// misuseStreams is misuse of gRPC.
func (d *driven) misuseStreams() {
	d.t.Helper()
	p, m, data := d.p, d.p.misuse, d.p.badData
	client := pb.NewIngestServiceClient(d.grpc)
	with := func(authorization, tenant string) func(*pb.Event) error {
		return func(e *pb.Event) error {
			ctx := metadata.AppendToOutgoingContext(d.t.Context(), "authorization", authorization)
			if tenant != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "doorstep-tenant", tenant)
			}
			_, err := client.Publish(ctx, &pb.PublishRequest{Event: e})
			return err
		}
	}
	good, key := &pb.Event{Type: "a.b", Data: []byte(`"` + data + `"`)}, with("Bearer "+d.key, "")
	for name, err := range map[string]error{
		"a wrong key":           with("Bearer "+p.wrongKey, "")(good),
		"another scheme":        with("Basic "+p.wrongKey, "")(good),
		"a key without a scope": with("Bearer "+d.readOnly, "")(good),
		"another tenant":        with("Bearer "+d.key, strings.ToLower(m))(good),
		"no tenant":             with("Bearer "+p.platformKey, "T "+m)(good),
		"an event of another":   key(&pb.Event{Tenant: strings.ToLower(m), Type: "a.b"}),
		"a wrong type":          key(&pb.Event{Type: m + "!"}),
		"a wrong id":            key(&pb.Event{Type: "a.b", Id: "a." + m}),
		"no JSON":               key(&pb.Event{Type: "a.b", Data: []byte(`{"a": ` + data + `}`)}),
		"no JSON at its end":    key(&pb.Event{Type: "a.b", Data: []byte(`"` + data)}),
		"too large":             key(&pb.Event{Type: "a.b", Data: []byte(`"` + strings.Repeat(data, 11_000) + `"`)}),
		"far too large":         key(&pb.Event{Type: "a.b", Data: []byte(`"` + strings.Repeat(data, 500_000) + `"`)}),
		"a long attribute":      key(&pb.Event{Type: "a.b", Attributes: map[string]string{"a": strings.Repeat(m, 1000)}}),
		"a long reference":      key(&pb.Event{Type: "a.b", ExternalReference: strings.Repeat(m, 100)}),
	} {
		if err == nil {
			d.t.Errorf("%s is not refused", name)
			continue
		}
		d.refusal("Publish", err)
	}
	ctx := metadata.AppendToOutgoingContext(d.t.Context(), "authorization", "Bearer "+d.key)
	results, err := client.PublishBatch(ctx, &pb.PublishBatchRequest{Events: []*pb.Event{{Type: "a.b", Data: []byte(data)}}})
	if err != nil || results.GetResults()[0].GetError() == nil {
		d.t.Errorf("a batch with a bad event: %v, %v", results, err)
	}
	d.note("grpc/PublishBatch", []byte(results.String()))
	stream, err := client.PublishStream(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := stream.Send(&pb.PublishStreamRequest{Sequence: 1, Event: &pb.Event{Type: "a.b", Data: []byte(data)}}); err != nil {
		d.t.Fatal(err)
	}
	_ = stream.CloseSend()
	for {
		ack, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.t.Fatal(err)
		}
		d.note("grpc/PublishStream", []byte(ack.String()))
	}
}
