package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// driven is what the suite has made.
type driven struct {
	*house
	receiver  *testkit.Receiver
	key       string // of the tenant, with every scope but admin
	readOnly  string // of the tenant
	hooks     map[string]hook
	tail      context.CancelFunc
	tailEnded chan struct{}
}

// api makes a REST call with the platform's key and decodes the answer's data into out, if given.
func (d *driven) api(method, path string, in, out any) int {
	d.t.Helper()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			d.t.Fatal(err)
		}
	}
	r := request{method: method, path: path, key: d.p.platformKey, body: string(body)}
	if method == http.MethodPatch {
		r.header = map[string]string{"Content-Type": "application/merge-patch+json"}
	}
	status, answer := d.do(r)
	if out != nil && status < 300 {
		if err := json.Unmarshal(answer, &struct{ Data any }{out}); err != nil {
			d.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
	return status
}

func (d *driven) must(want int, method, path string, in, out any) {
	d.t.Helper()
	if status := d.api(method, path, in, out); status != want {
		last := d.all[len(d.all)-1]
		d.t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, last.content)
	}
}

// drive makes a house do everything that it can.
func drive(h *house) {
	h.t.Helper()
	d := &driven{house: h, receiver: testkit.NewReceiver(h.t), hooks: map[string]hook{}}
	d.people()
	d.register()
	d.follow()
	d.inForce()
	events := d.publish()
	d.misuse()
	d.misuseStreams()
	d.visit()
	d.outcomes(events)
	d.keep()
	d.storesAway()
	d.unreadable()
	d.look(events)
	d.tail()
	<-d.tailEnded
}

// inForce returns when every change made before it is in force: a webhook that is made last is.
func (d *driven) inForce() {
	d.t.Helper()
	kind := "probe." + strings.ToLower(random())
	d.must(http.StatusCreated, http.MethodPost, "webhooks", map[string]any{"url": d.receiver.URL + "/" + kind, "event_types": []string{kind}}, nil)
	testkit.Eventually(d.t, patience, func() error {
		if status := d.api(http.MethodPost, "events", map[string]any{"type": kind}, nil); status != http.StatusAccepted {
			return fmt.Errorf("publish: %d", status)
		}
		if len(d.receiver.RequestsTo("/"+kind)) == 0 {
			return errors.New("what was changed is not in force")
		}
		return nil
	})
}

// people makes keys, an administrator and a tenant.
func (d *driven) people() {
	d.t.Helper()
	for name, scopes := range map[string][]string{
		"key of the tenant": {"events", "webhooks", "deliveries"}, "key that may only read": {"webhooks:read", "deliveries:read"},
	} {
		var made struct{ ID, Key string }
		d.must(http.StatusCreated, http.MethodPost, "api-keys", map[string]any{"name": name, "scopes": scopes}, &made)
		d.p.know(name, made.Key, permit{"answer/POST api-keys", "told once"})
		if d.key == "" || len(scopes) == 3 {
			d.key = made.Key
		}
		if len(scopes) == 2 {
			d.readOnly = made.Key
		}
	}
	d.must(http.StatusCreated, http.MethodPost, "administrators", map[string]any{"email": d.p.email + "@example.com", "name": "The boss"}, nil)
	d.must(http.StatusCreated, http.MethodPost, "tenants", map[string]any{"id": "acme", "name": "Acme"}, nil)
}

// register makes a webhook for every way in which an attempt can end.
func (d *driven) register() {
	d.t.Helper()
	r, none := d.receiver, map[string]any{"retry_count": 0}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	_ = closed.Close()
	r.Set("/repeats/"+d.p.urlPath, testkit.Behaviour{Func: repeat})
	r.Set("/hangs/"+d.p.urlPath, testkit.Behaviour{Hang: true})
	r.Set("/leads/"+d.p.urlPath, testkit.Behaviour{Status: http.StatusFound, Header: http.Header{"Location": {d.p.target(r.URL, "/away")}}})
	dumb := rawServer(d.t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0 hello\r\n"); _ = c.Close() })
	babbler := rawServer(d.t, babble)
	for name, fields := range map[string]map[string]any{
		"babbles": {"url": d.p.target("http://"+babbler, ""), "event_types": []string{"card.*"}, "headers": d.p.headers()},
		"ok": {
			"url": d.p.target(r.URL, "/ok"), "event_types": []string{"card.*"}, "headers": d.p.headers(), "secret": d.p.signingSecret, "key_pair": true,
			"condition": `event.type != "` + d.p.condition + `"`, "metadata": map[string]string{"m": d.p.metadata}, "name": d.p.name,
		},
		"repeats":    {"url": d.p.target(r.URL, "/repeats"), "event_types": []string{"echo.*"}, "headers": d.p.headers(), "secret": d.p.signingSecret, "name": d.p.name},
		"repeats it": {"url": d.p.target(r.URL, "/repeats"), "event_types": []string{"echo.*"}, "headers": d.p.basic()},
		"thin":       {"url": d.p.target(r.URL, "/thin"), "event_types": []string{"card.*"}, "payload": map[string]any{"format": "thin"}},
		"cloud":      {"url": d.p.target(r.URL, "/cloud"), "event_types": []string{"card.*"}, "payload": map[string]any{"format": "cloudevents"}},
		"judges":     {"url": d.p.target(r.URL, "/ok"), "event_types": []string{"judged.*"}, "condition": `int(data.number) > 0`},
		"kept":       {"url": d.p.target(r.URL, "/ok"), "event_types": []string{"kept.*"}},
		"refused":    {"url": d.p.target("http://"+closed.Addr().String(), ""), "event_types": []string{"card.*"}, "headers": d.p.headers()},
		"hangs":      {"url": d.p.target(r.URL, "/hangs"), "event_types": []string{"card.*"}, "timeout_seconds": 1, "headers": d.p.headers()},
		"no TLS":     {"url": d.p.target(strings.Replace(r.URL, "http", "https", 1), "/x"), "event_types": []string{"card.*"}, "headers": d.p.headers()},
		"no HTTP":    {"url": d.p.target("http://"+dumb, ""), "event_types": []string{"card.*"}, "headers": d.p.headers()},
		"leads":      {"url": d.p.target(r.URL, "/leads"), "event_types": []string{"card.*"}, "headers": d.p.headers()},
		"no name":    {"url": d.p.target("https://nothing.invalid", ""), "event_types": []string{"card.*"}, "headers": d.p.headers()},
	} {
		if !strings.HasPrefix(name, "repeats") {
			maps.Copy(fields, none)
		}
		var made hook
		d.must(http.StatusCreated, http.MethodPost, "webhooks", fields, &made)
		d.hooks[name] = made
		d.secretOf(made)
	}
}

// secretOf adds a signing secret that was generated.
func (d *driven) secretOf(h hook) {
	d.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(h.Secret, "whsec_"))
	if err != nil || len(raw) < 24 {
		d.t.Fatalf("no secret is told of webhook %s", h.ID)
	}
	for _, v := range d.p.values {
		if v.core == string(raw) {
			return
		}
	}
	d.p.know("secret of webhook "+h.ID, string(raw), d.p.ofWebhook...)
}

// repeat fails and writes down what it was sent, as careless receivers do, in every language.
func repeat(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	secrets := []string{r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"), r.Header.Get("X-Team-Number")}
	if user, password, ok := r.BasicAuth(); ok {
		secrets = append(secrets, "no user "+user+" with the password "+password)
	}
	w.Header().Set("X-Seen", secrets[0])
	w.Header().Set("X-Seen-Escaped", url.QueryEscape(secrets[0]))
	w.WriteHeader(http.StatusInternalServerError)
	for _, s := range secrets {
		if s == "" {
			continue
		}
		asJSON, _ := json.Marshal(s)
		fmt.Fprintf(w, "as it is %s; JSON %s; PHP %s; query %s; path %s; HTML %s; Go %q\n", s, asJSON, strings.ReplaceAll(string(asJSON), "/", `\/`),
			url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s), s)
	}
	_, _ = w.Write(body)
}

// babble accepts a request, and then sends it back although nobody asks for it: net/http logs such a thing.
func babble(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	request, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, request.Body)
	_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	_, _ = fmt.Fprintf(c, "%s %s %v\r\n", request.Method, request.RequestURI, request.Header)
	_, _ = io.Copy(io.Discard, c) // until the sender goes
}

// publish publishes over every way in, and returns the events' ids by type.
func (d *driven) publish() map[string]string {
	d.t.Helper()
	p, events := d.p, map[string]string{}
	client := pb.NewIngestServiceClient(d.grpc)
	ctx := metadata.AppendToOutgoingContext(d.t.Context(), "authorization", "Bearer "+d.key)
	card := &pb.Event{
		Type: "card.updated", ExternalReference: p.reference, Attributes: map[string]string{"eventUser": p.attribute},
		Data: fmt.Appendf(nil, `{"text":%q}`, p.data),
	}
	one, err := client.Publish(ctx, &pb.PublishRequest{Event: card})
	if err != nil {
		d.t.Fatal(err)
	}
	events["card.updated"] = one.GetEventId()
	batch := &pb.PublishBatchRequest{Events: []*pb.Event{
		{Type: "judged.now", Data: fmt.Appendf(nil, `{"number":%q}`, p.judged)},
		{Type: "kept.now", Data: fmt.Appendf(nil, `{"text":%q}`, p.data), ExternalReference: p.reference},
	}}
	for range 3 {
		batch.Events = append(batch.Events, &pb.Event{Type: "echo.now", Data: fmt.Appendf(nil, `{"text":%q}`, p.echoed)})
	}
	answers, err := client.PublishBatch(ctx, batch)
	if err != nil {
		d.t.Fatal(err)
	}
	for i, r := range answers.GetResults() {
		if r.GetError() != nil {
			d.t.Fatalf("event %d: %v", i, r.GetError())
		}
		events[batch.GetEvents()[i].GetType()] = r.GetEventId()
	}
	stream, err := client.PublishStream(ctx)
	if err == nil {
		err = stream.Send(&pb.PublishStreamRequest{Sequence: 1, Event: card})
	}
	if err == nil {
		_, err = stream.Recv()
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.must(http.StatusAccepted, http.MethodPost, "events", map[string]any{"type": "card.created", "data": p.data, "attributes": map[string]string{"a": p.attribute}}, nil)
	return events
}

// refusals notes the status that a gRPC call ends with.
func (d *driven) refusal(method string, err error) {
	d.t.Helper()
	s, ok := status.FromError(err)
	if err == nil || !ok {
		d.t.Errorf("%s ended with %v", method, err)
		return
	}
	b, err := protojson.Marshal(s.Proto())
	if err != nil {
		d.t.Fatal(err)
	}
	d.note("grpc/"+method, b)
}

// unreadable puts a record into the log that nobody can read.
func (d *driven) unreadable() {
	d.t.Helper()
	topics, err := d.kafka.Topics()
	if err != nil {
		d.t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(d.kafka.Brokers...))
	if err != nil {
		d.t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(d.t.Context(), &kgo.Record{Topic: topics.Events, Key: []byte(d.p.broken), Value: []byte("\xff\xff" + d.p.broken)}).FirstErr(); err != nil {
		d.t.Fatal(err)
	}
}

// follow tails the attempts, with another key.
func (d *driven) follow() {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/api/v1/attempts/tail", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.readOnly)
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // by the goroutine below
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("tail: %v", err)
	}
	d.tail, d.tailEnded = cancel, make(chan struct{})
	go func() {
		defer close(d.tailEnded)
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body) // until it is cut
		d.note("answer/GET attempts.tail", b)
	}()
}

// visitor is a browser of somebody who looks at the pages.
func (d *driven) visitor() (client *http.Client, page func(method, path string, form url.Values) string) {
	d.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	client = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client, func(method, path string, form url.Values) string {
		d.t.Helper()
		req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+"/console/"+path, strings.NewReader(form.Encode()))
		if err != nil {
			d.t.Fatal(err)
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		_, answer := d.send(client, req, "page", routeOf(path))
		return string(answer)
	}
}
