package sender_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// signedBy are the verdicts of receivers that have one of the secrets each, on what one of them got.
func signedBy(p posted, secrets ...signature.Secret) (matches []bool) {
	for _, s := range secrets {
		err := signature.Verify([]signature.Secret{s}, signature.HeadersOf(p.header), []byte(p.body), p.at, signature.Tolerance)
		matches = append(matches, err == nil)
	}
	return matches
}

func signingKeyOf(s signature.Secret, expiresAt time.Time) webhook.SigningKey {
	return webhook.SigningKey{
		Scheme: webhook.Scheme(s.Scheme()), Secret: webhook.Sealed{KeyID: webhook.PlainKeyID, Bytes: s.Raw()}, ExpiresAt: expiresAt,
	}
}

func signedAt(t *testing.T, p posted) time.Time {
	t.Helper()
	seconds, err := strconv.ParseInt(p.header.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(seconds, 0)
}

// A sender that runs signs with the former secret, with its successor and with the key pair from the
// rotation on, and without the former one once that has expired, though nothing about the webhook changes then.
func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	former, current := signature.NewSecret([32]byte{1, 0xfe}), signature.NewSecret([32]byte{2, 0xfe})
	pair := signature.NewKeyPair([32]byte{3, 0xfe})
	public, _ := pair.Public()
	r.start("a")

	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) { w.SigningKeys = []webhook.SigningKey{signingKeyOf(former, time.Time{})} })
	n := 0
	next := func() posted {
		n++
		r.deliver(w, n)
		return rec.wait(t, "/w", n)[n-1]
	}
	if got := signedBy(next(), former, current, public); fmt.Sprint(got) != "[true false false]" {
		t.Fatalf("before the rotation signed by former, current, pair: %v", got)
	}

	// The former secret ends at a full second, so that the timestamp of a POST tells whether it came before.
	// A machine that is too slow to deliver anything before gets a longer overlap.
	var end time.Time
	for overlap := 2 * time.Second; ; overlap *= 2 {
		end = time.Now().Add(overlap + time.Second).Truncate(time.Second)
		w = r.change(w, func(w *webhook.Webhook) {
			w.SigningKeys = []webhook.SigningKey{signingKeyOf(current, time.Time{}), signingKeyOf(former, end), signingKeyOf(pair, time.Time{})}
		})
		p := next()
		if !signedAt(t, p).Before(end) {
			continue
		}
		if got := signedBy(p, former, current, public); fmt.Sprint(got) != "[true true true]" {
			t.Fatalf("during the overlap signed by former, current, pair: %v (%s)", got, p.header.Get("webhook-signature"))
		}
		break
	}
	for after := false; !after; {
		p := next()
		after = !signedAt(t, p).Before(end)
		if got, want := signedBy(p, former, current, public), []bool{!after, true, true}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("signed at %s, the former secret ending at %s, by former, current, pair: %v", signedAt(t, p), end, got)
		}
		if count := len(strings.Fields(p.header.Get("webhook-signature"))); after && count != 2 {
			t.Errorf("%d signatures after the overlap, want 2", count)
		}
	}

	w = r.change(w, func(w *webhook.Webhook) { w.SigningKeys = []webhook.SigningKey{signingKeyOf(current, time.Time{})} })
	if got := signedBy(next(), former, current, public); fmt.Sprint(got) != "[false true false]" {
		t.Fatalf("without the pair signed by former, current, pair: %v", got)
	}
	eventually(t, func() error {
		if kept := len(r.keptOf(w)); kept != n {
			return fmt.Errorf("%d attempts on record, want %d", kept, n)
		}
		return nil
	})
	for _, kept := range r.keptOf(w) {
		holdsNone(t, kept.raw, former, current, pair)
	}
}

// change writes the next version of a webhook.
func (r *rig) change(w webhook.Webhook, f func(*webhook.Webhook)) webhook.Webhook {
	r.t.Helper()
	w.Version++
	f(&w)
	r.hooks[w.ID] = r.produce(wire.Webhook(r.topics.Webhooks, w))
	return w
}

// holdsNone errs if a record holds a secret, in one form or another.
func holdsNone(t *testing.T, record []byte, secrets ...signature.Secret) {
	t.Helper()
	for _, s := range secrets {
		for form, text := range map[string][]byte{
			"raw": s.Raw(), "base64": []byte(base64.StdEncoding.EncodeToString(s.Raw())), "text": []byte(s.Text()),
			"base64 without its end": []byte(s.Text()[:len(s.Text())-4]),
		} {
			if bytes.Contains(record, text) {
				t.Errorf("the record holds %v as %s", s, form)
			}
		}
	}
}

// A customer who puts the webhook's secrets into its headers finds them masked in the record of the attempt,
// in the receiver's echo of them too.
func TestSecretsInHeadersAreMasked(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	echo(rec)
	r.cfg.KeepAnswerBytes = 16 << 10
	secret, pair := signature.NewSecret([32]byte{1, 0xfe, 0xfb}), signature.NewKeyPair([32]byte{3, 0xfe})
	r.start("a")
	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) {
		w.SigningKeys = []webhook.SigningKey{signingKeyOf(secret, time.Time{}), signingKeyOf(pair, time.Time{})}
		w.Headers = []webhook.Header{{Name: "X-One", Value: webhook.Plain([]byte(secret.Text()))}, {Name: "X-Two", Value: webhook.Plain([]byte(pair.Text()))}, {Name: "X-Three", Value: webhook.Plain([]byte("by " + secret.Text() + ", " + pair.Text()))}}
	})
	r.deliver(w, 1)
	kept := r.oneKept(w)
	holdsNone(t, kept.raw, secret, pair)
	for _, h := range kept.Outcome.RequestHeaders {
		if strings.HasPrefix(h.Name, "X-") && h.Value != "***" {
			t.Errorf("%s: %s", h.Name, h.Value)
		}
	}
}
