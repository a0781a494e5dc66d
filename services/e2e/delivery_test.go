package e2e

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// oddJSON would not survive being decoded and written again.
const oddJSON = "{ \"b\":1.0,\"a\" : 1e2,\n\t\"id\":12345678901234567890, \"text\":\"\\u00e9\\/ & <é>\",\"a\":2 }"

func TestFourAttemptsWithTheSameBytesAtTheTiersTimes(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	r.Set("/hook", testkit.Behaviour{FailFirst: 3})
	h := w.register(r.URL+"/hook", map[string]any{"headers": map[string]string{"X-Team": "blue"}})
	w.inForce()
	event := w.mustPublish(&pb.Event{Type: "card.updated", ExternalReference: "card-1", Data: []byte(oddJSON)})
	got := to(t, r, "/hook", 4)
	for i, p := range got {
		if string(p.Body) != oddJSON {
			t.Errorf("attempt %d has another body: %q", i+1, p.Body)
		}
		verify(t, h, p)
		for name, want := range map[string]string{
			"Webhook-Id": got[0].Header.Get("Webhook-Id"), "X-Team": "blue", "Content-Type": "application/json",
			"Doorstep-Event-Id": event, "Doorstep-Event-Type": "card.updated",
		} {
			if p.Header.Get(name) != want {
				t.Errorf("attempt %d: %s is %q, want %q", i+1, name, p.Header.Get(name), want)
			}
		}
	}
	attempts := w.settled(h, 4, delivery.Delivered)
	for i, tier := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} {
		due := attempts[i].FinishedAt.Add(tier)
		if !attempts[i].NextAttemptAt.Equal(due) || !attempts[i+1].DueAt.Equal(due) || attempts[i+1].StartedAt.Before(due) {
			t.Errorf("attempt %d was due %s and began %s, want %s", i+2, attempts[i+1].DueAt, attempts[i+1].StartedAt, due)
		}
		t.Logf("attempt %d began %s after it was due", i+2, attempts[i+1].StartedAt.Sub(due))
	}
}

func TestExhaustedAfterTheLast(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	r.Set("/hook", testkit.Behaviour{Status: 500})
	r.Set("/once", testkit.Behaviour{Status: 500})
	h := w.register(r.URL+"/hook", nil)
	once := w.register(r.URL+"/once", map[string]any{"retry_count": 0})
	w.inForce()
	w.mustPublish(&pb.Event{Type: "card.updated"})
	w.settled(once, 1, delivery.Exhausted)
	w.settled(h, 4, delivery.Exhausted)
}

func TestRedirectIsAFailureAndNotFollowed(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	r.Set("/from", testkit.Behaviour{Status: 307, Header: http.Header{"Location": {r.URL + "/elsewhere"}}})
	h := w.register(r.URL+"/from", map[string]any{"retry_count": 0})
	w.inForce()
	w.mustPublish(&pb.Event{Type: "card.updated"})
	if got := w.settled(h, 1, delivery.Exhausted); got[0].Outcome.StatusCode != 307 || got[0].Outcome.ErrorCode != "redirect" {
		t.Errorf("outcome %+v", got[0].Outcome)
	}
	if n := len(r.RequestsTo("/elsewhere")); n != 0 {
		t.Errorf("followed %d times", n)
	}
}

// The limits as they are in production: 10 s in all, 5 s to connect.
func TestSlowReceiversAreCut(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := testkit.NewReceiver(t)
	r.Set("/hangs", testkit.Behaviour{Hang: true})
	r.Set("/drips", testkit.Behaviour{Body: bytes.Repeat([]byte("."), 1000), Drip: 100 * time.Millisecond})
	hole, ok := testkit.Blackhole(t)
	if !ok {
		t.Fatal("this kernel answers although a listener's queue is full")
	}
	none := map[string]any{"retry_count": 0}
	for name, tt := range map[string]struct {
		url   string
		code  string
		limit time.Duration
	}{
		"says nothing":      {r.URL + "/hangs", "timeout", 10 * time.Second},
		"drips its answer":  {r.URL + "/drips", "timeout", 10 * time.Second},
		"answers no SYN":    {"http://" + hole, "connect_timeout", 5 * time.Second},
		"shakes no TLS":     {"https://" + mute(t), "connect_timeout", 5 * time.Second},
		"drips its headers": {"http://" + dripper(t), "timeout", 10 * time.Second},
	} {
		h := w.register(tt.url, none)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := connect(t, w.url, w.grpc.Target(), w.kafka)
			a := w.settled(h, 1, delivery.Exhausted)[0]
			took := a.FinishedAt.Sub(a.StartedAt)
			if a.Outcome.ErrorCode != tt.code || took < tt.limit {
				t.Errorf("%s after %s (%s), want %s after %s", a.Outcome.ErrorCode, took, a.Outcome.Error, tt.code, tt.limit)
			}
			t.Logf("%s: %s after %s", tt.code, a.Outcome.Error, took)
		})
	}
	w.inForce()
	w.mustPublish(&pb.Event{Type: "card.updated"})
}

// mute accepts connections and says nothing on them.
func mute(t *testing.T) string { return rawServer(t, func(net.Conn) {}) }

// dripper reads a request, and sends its header byte by byte. What came before the request would be an
// answer to nothing, and another fault.
func dripper(t *testing.T) string {
	return rawServer(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		for _, b := range append([]byte("HTTP/1.1 200 OK\r\nX-Drip: "), bytes.Repeat([]byte("x"), 10_000)...) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond) // the behaviour under test, not a wait
		}
	})
}

func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go serve(c)
		}
	}()
	return listener.Addr().String()
}
