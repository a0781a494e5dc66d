package sender_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// sealingKeys are keys of those ids, always the same for one id.
func sealingKeys(t *testing.T, ids ...string) (seal.Keys, credentials.SealingKeys) {
	t.Helper()
	var text string
	for _, id := range ids {
		one, err := seal.New(id, [32]byte([]byte(strings.Repeat(id, 32))[:32]))
		if err != nil {
			t.Fatal(err)
		}
		text += one.Text()
	}
	keys, err := seal.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys, credentials.SealingKeys{Keys: text}
}

// sealedWith is a change of a webhook that seals its secrets.
func sealedWith(t *testing.T, keys seal.Keys) func(*webhook.Webhook) {
	return func(w *webhook.Webhook) {
		n := byte(0)
		var err error
		if *w, _, err = keys.Webhook(*w, func() [12]byte { n++; return [12]byte{n} }); err != nil {
			t.Error(err)
		}
	}
}

func TestSealedSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	old, _ := sealingKeys(t, "k1")
	current, settings := sealingKeys(t, "k2", "k1")
	r.cfg.Sealing = settings
	r.start("a")
	secret := signature.NewSecret([32]byte{1, 0xfe})
	for path, keys := range map[string]seal.Keys{"/old": old, "/current": current, "/plain": {}} {
		w := r.webhook(rec.URL+path, func(w *webhook.Webhook) {
			w.SigningKeys = []webhook.SigningKey{signingKeyOf(secret, time.Time{})}
			w.Headers = []webhook.Header{{Name: "Authorization", Value: webhook.Plain([]byte("Bearer of-the-customer"))}, {Name: "X-Team", Value: webhook.Plain([]byte("blue"))}}
			sealedWith(t, keys)(w)
		})
		r.deliver(w, 1)
		p := rec.wait(t, path, 1)[0]
		if got := signedBy(p, secret); !got[0] {
			t.Errorf("%s: not signed with its secret", path)
		}
		if got := p.header.Get("Authorization") + "; " + p.header.Get("X-Team"); got != "Bearer of-the-customer; blue" {
			t.Errorf("%s: headers %s", path, got)
		}
	}
}

// A signing key that has expired may be unreadable: nothing is signed with it.
func TestExpiredKeyMayBeUnreadable(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	lost, _ := sealingKeys(t, "lost")
	r.start("a")
	secret := signature.NewSecret([32]byte{1, 0xfe})
	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) {
		w.SigningKeys = []webhook.SigningKey{signingKeyOf(signature.NewSecret([32]byte{2}), time.Now().Add(-time.Second))}
		sealedWith(t, lost)(w)
		w.SigningKeys = append([]webhook.SigningKey{signingKeyOf(secret, time.Time{})}, w.SigningKeys...)
	})
	r.deliver(w, 1)
	if got := signedBy(rec.wait(t, "/w", 1)[0], secret); !got[0] {
		t.Error("not signed with the key that has not expired")
	}
}

// logged is a sender's log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) lines(with ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
line:
	for line := range strings.Lines(l.b.String()) {
		for _, w := range with {
			if !strings.Contains(line, w) {
				continue line
			}
		}
		n++
	}
	return n
}

func counter(t *testing.T, metrics *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// A sender without the key, as after a wrong deployment: however many deliveries there are, nothing counts against
// their webhook, nobody is told that it fails, and nothing is given up. Once the key is there all of it is sent.
func TestUnreadableSecretsAreNoFailure(t *testing.T) {
	t.Parallel()
	const tries = 600
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	keys, settings := sealingKeys(t, "k1")
	_, r.cfg.Sealing = sealingKeys(t, "k9")
	log, metrics := &logged{}, prometheus.NewRegistry()
	stop := r.startObserved("a", slog.New(slog.NewJSONHandler(log, nil)), metrics)

	header := func(w *webhook.Webhook) {
		w.Headers = []webhook.Header{{Name: "Authorization", Value: webhook.Plain([]byte("Bearer of-the-customer"))}}
	}
	sealed := r.webhook(rec.URL+"/sealed", func(w *webhook.Webhook) { header(w); sealedWith(t, keys)(w) })
	other := r.webhook(rec.URL+"/other", func(w *webhook.Webhook) { // its header alone cannot be read
		header(w)
		signs := w.SigningKeys
		sealedWith(t, keys)(w)
		w.SigningKeys = signs
	})
	beside := r.webhook(rec.URL+"/beside", nil)
	var want []string
	for n := range tries {
		want = append(want, r.deliver(sealed, n).ID)
	}
	r.deliver(other, 1)
	r.deliver(beside, 1)
	rec.wait(t, "/beside", 1)

	parked := func() (tried map[string]bool) {
		tried = map[string]bool{}
		for _, d := range read(r, r.topics.Parked.Topic, wire.ReadDelivery) {
			if d.Attempt != 1 || d.TimesParked < 1 {
				t.Fatalf("parked at attempt %d, for the %d. time", d.Attempt, d.TimesParked)
			}
			tried[d.ID] = true
		}
		return tried
	}
	eventually(t, func() error {
		if n := len(parked()); n != tries+1 {
			return fmt.Errorf("%d deliveries parked, want %d", n, tries+1)
		}
		return nil
	})
	for _, w := range []webhook.Webhook{sealed, other} {
		if s := r.stateOf(w); s.FailStreak != 0 || s.FailureCount != 0 || s.Disabled {
			t.Errorf("the state of a webhook that was never sent to: %+v", s)
		}
		if n := len(r.keptOf(w)); n != 0 {
			t.Errorf("%d attempts are told", n)
		}
		if n := log.lines("secrets cannot be read", w.ID); n != 1 {
			t.Errorf("%d lines in the log, want 1", n)
		}
	}
	// Nearly all of them: what a slow machine leaves waiting for 5 s is parked without a try.
	if n := counter(t, metrics, "doorstep_sender_secrets_unreadable_total"); n < tries/2 {
		t.Errorf("%v tries counted, want about %d", n, tries+1)
	}
	if n := log.lines("of-the-customer"); n != 0 {
		t.Error("the log holds a header")
	}

	// A change that makes it readable counts at once, on the same sender.
	r.change(other, header)
	r.deliver(other, 2)
	rec.wait(t, "/other", 1)

	stop()
	r.cfg.Sealing = settings
	r.start("a")
	rec.wait(t, "/sealed", tries)
	rec.wait(t, "/other", 2)
	got := map[string]bool{}
	for _, p := range rec.posts("/sealed") {
		got[p.header.Get("webhook-id")] = true
		if p.header.Get("Authorization") != "Bearer of-the-customer" {
			t.Fatal("sent without its header")
		}
	}
	for _, id := range want {
		if !got[id] {
			t.Errorf("delivery %s was not sent", id)
		}
	}
	if n := len(rec.posts("/sealed")); n != tries {
		t.Errorf("%d POSTs for %d deliveries", n, tries)
	}
	eventually(t, func() error {
		attempts := r.keptOf(sealed)
		for _, a := range attempts {
			if a.Attempt.Attempt != 1 || a.Status != delivery.Delivered {
				return fmt.Errorf("attempt %d: %s", a.Attempt.Attempt, a.Status)
			}
		}
		if len(attempts) != tries {
			return errors.New(cmp.Diff(tries, len(attempts)))
		}
		return nil
	})
}
