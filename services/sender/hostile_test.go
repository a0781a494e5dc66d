package sender_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/testkit/hostile"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		runChild(role)
		return
	}
	log.SetOutput(io.Discard) // net/http says there what hostile receivers do: a line for each frame
	m.Run()
}

// counts are the requests of healthy receivers, by delivery.
type counts struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *counts) add(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[id]++
}

// Receivers of a third of the hostile kinds, with TEST_SLOW=1 of all, beside healthy ones: each attempt
// says what its receiver did, the healthy ones get each delivery once, and a stop leaves nothing behind.
func TestHostileReceivers(t *testing.T) {
	const (
		each    = 3 // deliveries of each hostile webhook, at once
		healthy = 100
	)
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // behind all other cleanups
	authority := hostile.NewAuthority(t)
	r := newRig(t, "24h")
	r.cfg.RootCAs, r.cfg.WarnAfter, r.cfg.DisableAfter, r.cfg.MaxInFlight = authority.Pool(), 1000, 1000, 1000
	none := 0
	got := &counts{seen: map[string]int{}}
	good := []string{plainReceiver(t, got), authority.HTTP2(t, func(p *hostile.Peer, stream uint32, id string) error {
		got.add(id)
		return p.Head(stream, true, ":status", "204")
	})}

	kinds := map[string]hostile.Kind{} // by webhook
	var webhooks, well []webhook.Webhook
	for i, kind := range hostile.Kinds() {
		if i%3 != 0 && os.Getenv("TEST_SLOW") != "1" { // pkg/post tries them all
			continue
		}
		w := r.webhook(authority.Start(t, kind).URL, func(w *webhook.Webhook) {
			w.RetryCount = &none
			if kind.Waits != hostile.Nothing {
				w.Timeout = new(3 * time.Second)
			}
		})
		kinds[w.ID] = kind
		webhooks = append(webhooks, w)
	}
	for _, url := range good {
		well = append(well, r.webhook(url, nil))
	}
	stop := r.start("a")
	wanted := map[string]bool{}
	for n := range healthy {
		for _, w := range well {
			wanted[r.deliver(w, n).ID] = true
		}
		if n < each {
			for _, w := range webhooks {
				r.deliver(w, n)
			}
		}
	}

	var attempts []delivery.Attempt
	eventually(t, func() error {
		if attempts = r.attempts(); len(attempts) < len(webhooks)*each+len(wanted) {
			return fmt.Errorf("%d attempts, want %d of hostile and %d of healthy receivers", len(attempts), len(webhooks)*each, len(wanted))
		}
		return nil
	})
	for _, a := range attempts {
		kind, isHostile := kinds[a.WebhookID]
		if o := a.Outcome; !kind.Allows(o.ErrorCode) || o.OK() != (o.ErrorCode == "") || (o.Error == "") != o.OK() {
			t.Errorf("%s: %q (%s), want %q", kind.Name, o.ErrorCode, o.Error, kind.Code)
		}
		if a.Outcome.Phases.Total > 10*time.Second {
			t.Errorf("%s: it took %s", kind.Name, a.Outcome.Phases.Total)
		}
		if !isHostile && a.Attempt != 1 {
			t.Errorf("a healthy receiver needed attempt %d", a.Attempt)
		}
	}
	if want := len(webhooks)*each + len(wanted); len(attempts) != want {
		t.Errorf("%d attempts, want %d", len(attempts), want)
	}
	got.mu.Lock()
	for id := range wanted {
		if got.seen[id] != 1 {
			t.Errorf("delivery %s was received %d times", id, got.seen[id])
		}
	}
	got.mu.Unlock()

	for _, w := range webhooks { // a stop in the middle of it
		r.deliver(w, each)
	}
	started := time.Now()
	stop()
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

// plainReceiver counts and accepts.
func plainReceiver(t *testing.T, c *counts) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(io.Discard, request.Body)
		c.add(request.Header.Get("Webhook-Id"))
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
