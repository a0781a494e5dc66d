package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

func TestBodyTellsItsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "at"))
		n := rapid.IntRange(0, 2000).Draw(t, "bytes")
		b := body(at, n)
		if n >= 64 && len(b) != n {
			t.Fatalf("%d bytes, want %d", len(b), n)
		}
		if got, ok := bodyTime(b); !ok || !got.Equal(at) {
			t.Fatalf("%s says %s, %t; want %s", b, got, ok, at)
		}
	})
	for _, text := range []string{"", "{", `{"at":`, `{"at":"now"}`, `{"text":1}`} {
		if at, ok := bodyTime([]byte(text)); ok {
			t.Errorf("%q says %s", text, at)
		}
	}
}

// What a receiver notes: each POST by its path, ids that come again, and latencies of what was due late enough.
func TestNotes(t *testing.T) {
	from := time.Unix(1000, 0)
	n := newNotes(from)
	id := func(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", i) }
	due := func(d time.Duration) []byte { return body(from.Add(d), 100) }
	n.post(from.Add(time.Millisecond), id(1), "fast", due(0))
	n.post(from.Add(3*time.Millisecond), id(2), "fast", due(-time.Second)) // of the warm-up
	n.post(from.Add(250*time.Millisecond), id(1), "fast", due(50*time.Millisecond))
	n.post(from.Add(time.Second), "no id", "hang", []byte("no time"))
	got := n.report()
	if got.Count != 4 || got.Repeated != 1 || !got.First.Equal(from.Add(time.Millisecond)) || !got.Last.Equal(from.Add(time.Second)) {
		t.Errorf("%+v", got)
	}
	fast, hang := got.Paths["fast"], got.Paths["hang"]
	if fast.Count != 3 || fast.Latency.Count() != 2 || hang.Count != 1 || hang.Latency.Count() != 0 {
		t.Errorf("fast %+v, hang %+v", fast, hang)
	}
	if most := fast.Latency.Most; most != 200*time.Millisecond {
		t.Errorf("latency at most %s", most)
	}
	if len(fast.Rate) != 3 || fast.Rate[0].Value != 10 || fast.Rate[2] != (Point{2 * slot, 10}) {
		t.Errorf("rate %v", fast.Rate)
	}
	n.reset(from)
	if got := n.report(); got.Count != 0 || len(got.Paths) != 0 {
		t.Errorf("after a reset: %+v", got)
	}
}

// A receiver answers as its paths say.
func TestReceiverPaths(t *testing.T) {
	receive, _ := receiverPart()
	server := httptest.NewServer(receive)
	defer server.Close()
	post := func(ctx context.Context, path string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+path, strings.NewReader(strings.Repeat("x", 3*headBytes)))
		if err != nil {
			t.Fatal(err)
		}
		return http.DefaultClient.Do(req)
	}
	for path, want := range map[string]int{"/": 204, "/fast/1": 204, "/slow/1ms/2": 204, "/slow/never/2": 400} {
		resp, err := post(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if resp, err := post(ctx, "/hang/1"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("/hang answers %d", resp.StatusCode)
	}
}

// Children get the settings of the servers as variables, and only what is set.
func TestEnvironment(t *testing.T) {
	got := strings.Join(environment(kafka.Config{
		Brokers: []string{"a:1", "b:2"}, TopicPrefix: "p.", Security: kafka.Security{TLS: true, User: "u"}, Embedded: true,
	}), " ")
	if want := "DOORSTEP_KAFKA_BROKERS=a:1,b:2 DOORSTEP_TOPIC_PREFIX=p. DOORSTEP_KAFKA_TLS=true DOORSTEP_KAFKA_USER=u"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if left := withoutOurs([]string{"PATH=/bin", "DOORSTEP_KEY=k", "NOT_DOORSTEP_=1"}); strings.Join(left, " ") != "PATH=/bin NOT_DOORSTEP_=1" {
		t.Errorf("children get %q", left)
	}
}
