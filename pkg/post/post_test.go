package post_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

const (
	connectTimeout = 200 * time.Millisecond // where one is to pass
	totalTimeout   = 500 * time.Millisecond // where one is to pass
	patience       = 20 * time.Second       // where none is
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http says there what hostile receivers do: a line for each frame
	goleak.VerifyTestMain(m)
}

// local allows the test servers on loopback.
func local() egress.Policy {
	networks, err := egress.ParseNetworks("127.0.0.0/8")
	if err != nil {
		panic(err)
	}
	return egress.Policy{AllowNetworks: networks, AllowHTTP: true}
}

// hasty makes a client's connections time out soon.
func hasty(c *post.Config) { c.ConnectTimeout = connectTimeout }

func newClient(t testing.TB, change ...func(*post.Config)) *post.Client {
	t.Helper()
	config := post.Config{Egress: local(), Version: "1.2.3", ConnectTimeout: patience, Now: func() time.Time { return now }}
	for _, f := range change {
		f(&config)
	}
	client := post.New(config)
	t.Cleanup(client.Close)
	return client
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// attempt makes one attempt, which must end.
func attempt(t testing.TB, client *post.Client, r post.Request) delivery.Outcome {
	t.Helper()
	if r.Timeout == 0 {
		r.Timeout = patience
	}
	if r.Body == nil {
		r.Body = []byte(`{"a":1}`)
	}
	ended := make(chan delivery.Outcome, 1)
	go func() { ended <- client.Post(context.Background(), r) }()
	select {
	case out := <-ended:
		return out
	case <-time.After(2 * patience):
		t.Fatal("the attempt did not end")
		return delivery.Outcome{}
	}
}

func wantCode(t testing.TB, out delivery.Outcome, code string, words ...string) {
	t.Helper()
	if out.ErrorCode != code || (out.Error == "") != (code == "") || out.OK() != (code == "") {
		t.Errorf("outcome %q (%s), status %d, want %q", out.ErrorCode, out.Error, out.StatusCode, code)
	}
	for _, w := range words {
		if !strings.Contains(out.Error, w) {
			t.Errorf("the words %q do not say %q", out.Error, w)
		}
	}
}

func TestPostSends(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	receiver.Set("", testkit.Behaviour{Status: 201, Delay: 10 * time.Millisecond, Body: []byte("thanks"), Header: http.Header{"X-Answer": {"a", "b"}, "Set-Cookie": {"id=1"}}})
	body := []byte("{\"n\": 1.00, \"s\": \"\\u00e4\"}\n\x00")
	out := attempt(t, newClient(t), post.Request{
		URL: receiver.URL + "/hook?x=1", Body: body, ContentType: "application/cloudevents+json",
		Header: []delivery.Header{{Name: "Webhook-Id", Value: "msg_1"}, {Name: "webhook-signature", Value: "v1,abc"}, {Name: "Authorization", Value: "Bearer hunter2"}, {Name: "x-Api-KEY", Value: "hunter2"}, {Name: "X-Team", Value: "blue"}},
	})
	wantCode(t, out, "")
	if got := receiver.Requests(); len(got) != 1 {
		t.Fatalf("the receiver got %d requests", len(got))
	}
	got := receiver.Requests()[0]
	if got.Method != "POST" || got.Path != "/hook?x=1" || !bytes.Equal(got.Body, body) {
		t.Errorf("sent %s %s %q", got.Method, got.Path, got.Body)
	}
	wantHeader := http.Header{
		"Content-Type": {"application/cloudevents+json"}, "Content-Length": {fmt.Sprint(len(body))}, "User-Agent": {"Doorstep/1.2.3"}, "Webhook-Id": {"msg_1"},
		"Webhook-Signature": {"v1,abc"}, "Authorization": {"Bearer hunter2"}, "X-Api-Key": {"hunter2"}, "X-Team": {"blue"},
	}
	if diff := cmp.Diff(wantHeader, got.Header); diff != "" {
		t.Errorf("headers as the receiver got them (-want +got):\n%s", diff)
	}
	wantNoted := []delivery.Header{
		{Name: "Webhook-Id", Value: "msg_1"}, {Name: "Webhook-Signature", Value: "v1,abc"}, {Name: "Authorization", Value: "***"}, {Name: "X-Api-Key", Value: "***"}, {Name: "X-Team", Value: "blue"},
		{Name: "Content-Type", Value: "application/cloudevents+json"}, {Name: "User-Agent", Value: "Doorstep/1.2.3"},
	}
	if diff := cmp.Diff(wantNoted, out.RequestHeaders); diff != "" {
		t.Errorf("RequestHeaders (-want +got):\n%s", diff)
	}
	if string(out.ResponseBody) != "thanks" || out.StatusCode != 201 || out.URL != receiver.URL+"/hook?x=1" {
		t.Errorf("outcome %+v", out)
	}
	wantAnswer := []delivery.Header{{Name: "Content-Length", Value: "6"}, {Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "Date", Value: ""}, {Name: "Set-Cookie", Value: "***"}, {Name: "X-Answer", Value: "a"}, {Name: "X-Answer", Value: "b"}}
	for i := range out.ResponseHeaders {
		if out.ResponseHeaders[i].Name == "Date" {
			out.ResponseHeaders[i].Value = ""
		}
	}
	if diff := cmp.Diff(wantAnswer, out.ResponseHeaders); diff != "" {
		t.Errorf("ResponseHeaders (-want +got):\n%s", diff)
	}
	p := out.Phases
	if p.Reused || p.Connect <= 0 || p.FirstByte <= 0 || p.Total < p.Connect+p.FirstByte || p.DNS != 0 || p.TLS != 0 {
		t.Errorf("phases %+v", p)
	}
	if !strings.HasSuffix(receiver.URL, out.RemoteAddress) || out.RemoteAddress == "" {
		t.Errorf("RemoteAddress = %s, want that of %s", out.RemoteAddress, receiver.URL)
	}
}

func TestPostEmptyBody(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	out := attempt(t, newClient(t), post.Request{URL: receiver.URL, Body: []byte{}})
	wantCode(t, out, "")
	if got := receiver.Wait(t, 1, patience)[0]; len(got.Body) != 0 || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("sent %+v", got)
	}
}

func TestStatuses(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	client := newClient(t)
	for status, want := range map[int]struct{ code, words string }{
		200: {"", ""}, 204: {"", ""}, 299: {"", ""},
		300: {post.CodeRedirect, "not followed"}, 302: {post.CodeRedirect, "another path of the same host"}, 304: {post.CodeRedirect, "304"}, 308: {post.CodeRedirect, "308"},
		400: {post.CodeStatus, "400 Bad Request"}, 401: {post.CodeStatus, "credentials"}, 404: {post.CodeStatus, "path"}, 410: {post.CodeStatus, "no more"},
		429: {post.CodeStatus, "rate limit"}, 500: {post.CodeStatus, "log"}, 599: {post.CodeStatus, "599:"}, 799: {post.CodeStatus, "799"},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			path := fmt.Sprintf("/%d", status)
			receiver.Set(path, testkit.Behaviour{Status: status, Header: http.Header{"Location": {receiver.URL + "/followed"}}})
			out := attempt(t, client, post.Request{URL: receiver.URL + path})
			wantCode(t, out, want.code, want.words)
			if out.StatusCode != status {
				t.Errorf("StatusCode = %d, want %d", out.StatusCode, status)
			}
		})
	}
	if followed := receiver.RequestsTo("/followed"); len(followed) != 0 {
		t.Errorf("a redirect was followed: %+v", followed)
	}
}

func TestRetryAfter(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	client := newClient(t)
	for name, tt := range map[string]struct {
		status int
		value  string
		want   time.Duration
	}{
		"seconds":             {429, "30", 30 * time.Second},
		"with 503":            {503, " 7 ", 7 * time.Second},
		"zero":                {429, "0", 0},
		"an hour at most":     {429, "3601", time.Hour},
		"more digits":         {429, "99999999999999999999999", time.Hour},
		"a date":              {503, now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		"a far date":          {503, now.Add(48 * time.Hour).Format(http.TimeFormat), time.Hour},
		"a date that is over": {503, now.Add(-time.Hour).Format(http.TimeFormat), 0},
		"negative":            {429, "-5", 0},
		"words":               {429, "soon", 0},
		"nothing":             {429, "", 0},
		"with another status": {500, "30", 0},
		"with success":        {200, "30", 0},
	} {
		t.Run(name, func(t *testing.T) {
			receiver.Set("", testkit.Behaviour{Status: tt.status, Header: http.Header{"Retry-After": {tt.value}}})
			if out := attempt(t, client, post.Request{URL: receiver.URL}); out.RetryAfter != tt.want || out.StatusCode != tt.status {
				t.Errorf("RetryAfter = %s with %d, want %s", out.RetryAfter, out.StatusCode, tt.want)
			}
		})
	}
}

func TestConnectionsAreReused(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	client := newClient(t)
	answers := []testkit.Behaviour{
		{}, {Status: 200, Body: []byte("ok")}, {Status: 500, Body: bytes.Repeat([]byte("e"), post.DefaultKeepAnswerBytes)},
		{Status: 404, Body: bytes.Repeat([]byte("e"), post.DefaultKeepAnswerBytes+1)}, {Status: 200, Body: bytes.Repeat([]byte("x"), post.MaxBodyBytes)}, {Status: 302},
	}
	remotes := map[string]bool{}
	for i, b := range answers {
		receiver.Set("", b)
		out := attempt(t, client, post.Request{URL: receiver.URL})
		if out.Phases.Reused != (i > 0) || out.RemoteAddress == "" || i > 0 && out.Phases.Connect != 0 {
			t.Errorf("answer %d: reused %v, connect %s, remote %q", i, out.Phases.Reused, out.Phases.Connect, out.RemoteAddress)
		}
		if want := min(len(b.Body), post.DefaultKeepAnswerBytes); len(out.ResponseBody) != want {
			t.Errorf("answer %d: kept %d bytes of the body, want %d", i, len(out.ResponseBody), want)
		}
	}
	for _, r := range receiver.Requests() {
		remotes[r.Remote] = true
	}
	if len(remotes) != 1 {
		t.Errorf("%d answers took %d connections", len(answers), len(remotes))
	}
}

// A connection that the receiver closed while it lay idle is replaced. Only an attempt that crosses
// with the close fails.
func TestIdleConnectionClosedByReceiver(t *testing.T) {
	closed := make(chan struct{}, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	server.Config.IdleTimeout = 5 * time.Millisecond
	server.Config.ConnState = stateSignal(closed)
	server.Start()
	defer server.Close()
	client := newClient(t)
	wantCode(t, attempt(t, client, post.Request{URL: server.URL}), "")
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("the server did not close the connection")
	}
	out := attempt(t, client, post.Request{URL: server.URL})
	if out.ErrorCode == post.CodeReset && out.Phases.Reused { // the close was still on its way
		out = attempt(t, client, post.Request{URL: server.URL})
	}
	wantCode(t, out, "")
	if out.Phases.Reused {
		t.Error("the closed connection was used")
	}
}

func TestBodiesTooLarge(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	client := newClient(t)
	receiver.Set("/ok", testkit.Behaviour{Status: 200, Body: bytes.Repeat([]byte("x"), post.MaxBodyBytes+1)})
	out := attempt(t, client, post.Request{URL: receiver.URL + "/ok"})
	wantCode(t, out, post.CodeTooLarge, "200", "64 KiB")
	if len(out.ResponseBody) != post.DefaultKeepAnswerBytes || out.StatusCode != 200 {
		t.Errorf("status %d, kept %d bytes", out.StatusCode, len(out.ResponseBody))
	}
	receiver.Set("/bad", testkit.Behaviour{Status: 503, Header: http.Header{"Retry-After": {"9"}}, Body: bytes.Repeat([]byte("x"), 4*post.MaxBodyBytes)})
	out = attempt(t, client, post.Request{URL: receiver.URL + "/bad"})
	wantCode(t, out, post.CodeStatus, "503")
	if out.RetryAfter != 9*time.Second {
		t.Errorf("RetryAfter = %s, want 9s", out.RetryAfter)
	}
	receiver.Set("/endless", testkit.Behaviour{Func: func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}})
	wantCode(t, attempt(t, client, post.Request{URL: receiver.URL + "/endless"}), post.CodeTooLarge)
}

func TestCancelled(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	receiver.Set("", testkit.Behaviour{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan delivery.Outcome, 1)
	client := newClient(t)
	go func() { ended <- client.Post(ctx, post.Request{URL: receiver.URL, Timeout: patience}) }()
	receiver.Wait(t, 1, patience)
	cancel()
	select {
	case out := <-ended:
		wantCode(t, out, post.CodeCancelled)
	case <-time.After(patience):
		t.Fatal("the attempt did not end")
	}
}

func TestURLRefused(t *testing.T) {
	client := newClient(t, func(c *post.Config) { c.Egress = egress.Policy{} })
	wantCode(t, attempt(t, client, post.Request{URL: "http://example.com/?token=hunter2"}), post.CodeURL, "https://")
	wantCode(t, attempt(t, client, post.Request{URL: "https://169.254.169.254/"}), post.CodeAddress, "link-local")
	wantCode(t, attempt(t, client, post.Request{URL: "https://127.1/"}), post.CodeURL, "unusual form")
}

// The environment's proxy would dial addresses that nobody judged.
func TestNoProxy(t *testing.T) {
	receiver := testkit.NewReceiver(t)
	proxy := testkit.NewReceiver(t)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	wantCode(t, attempt(t, newClient(t), post.Request{URL: receiver.URL}), "")
	if proxy.Count() != 0 {
		t.Error("the attempt went through the proxy")
	}
}
