package sender_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// keptRecord is an attempt as it stands in the log.
type keptRecord struct {
	delivery.Attempt
	raw []byte
}

func (r *rig) keptOf(w webhook.Webhook) (found []keptRecord) {
	r.t.Helper()
	for _, k := range read(r, r.topics.Attempts, func(rec *kgo.Record) (keptRecord, error) {
		a, err := wire.ReadAttempt(rec)
		return keptRecord{a, rec.Value}, err
	}) {
		if k.WebhookID == w.ID {
			found = append(found, k)
		}
	}
	return found
}

func (r *rig) oneKept(w webhook.Webhook) keptRecord {
	r.t.Helper()
	var found []keptRecord
	eventually(r.t, func() error {
		if found = r.keptOf(w); len(found) != 1 {
			return fmt.Errorf("%d attempts, want 1", len(found))
		}
		return nil
	})
	return found[0]
}

// echo answers 400 with all that it was sent.
func echo(rec *receiver) {
	rec.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		for name, values := range req.Header {
			w.Header().Set("X-Echo-"+strings.ReplaceAll(name, "-", ""), values[0])
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "%v %s", req.Header, body)
	})
}

// What an attempt keeps holds no secret of the webhook, though its receiver repeats all that it is sent.
func TestAttemptsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	r.cfg.KeepAnswerBytes = 16 << 10
	rec := newReceiver(t, always(200))
	echo(rec)
	r.start("a")
	key := bytes.Repeat([]byte("0123456789abcdef"), 2)
	secrets := map[string]string{
		"Authorization": "Bearer aaaa-of-the-customer", "X-Api-Key": "bbbb-of-the-customer", "Cookie": "session=cccc-of-the-customer",
		"X-Partner": "Basic ZGRkZC1vZi10aGU=", "X-Reference": "eeee0f0e5a764c1b9d531c1d5c1b0d11",
	}
	w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) {
		w.SigningKeys[0].Secret.Bytes = key
		w.Headers = []webhook.Header{{Name: "X-Team", Value: webhook.Plain([]byte("blue"))}}
		for name, value := range secrets {
			w.Headers = append(w.Headers, webhook.Header{Name: name, Value: webhook.Plain([]byte(value))})
		}
	})
	r.deliver(w, 1)
	kept := r.oneKept(w)
	for name, value := range secrets {
		if _, bare, ok := strings.Cut(value, " "); ok {
			value = bare
		}
		if bytes.Contains(kept.raw, []byte(value)) {
			t.Errorf("the record holds the value of %s", name)
		}
	}
	for _, text := range []string{string(key), base64.StdEncoding.EncodeToString(key), "whsec_"} {
		if bytes.Contains(kept.raw, []byte(text)) {
			t.Errorf("the record holds the signing secret as %s", text)
		}
	}
	headers := map[string]string{}
	for _, h := range kept.Outcome.RequestHeaders {
		headers[h.Name] = h.Value
	}
	if headers["X-Team"] != "blue" || !strings.HasPrefix(headers["Webhook-Signature"], "v1,") || headers["Authorization"] != "***" || headers["X-Reference"] != "***" {
		t.Errorf("request headers %v", headers)
	}
	if body := string(kept.Outcome.ResponseBody); !strings.Contains(body, "blue") || !strings.Contains(body, "***") {
		t.Errorf("answer's body %q", body)
	}
}

func TestKeepAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	rec := newReceiver(t, always(200))
	rec.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Said", "in-a-header")
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "in-the-body"+strings.Repeat("x", 200))
	})
	for id, policy := range map[string]*bool{"silent": new(false), "open": new(true), "usual": nil} {
		r.produce(wire.Tenant(r.topics.Settings, tenant.Tenant{ID: id, Policy: tenant.Policy{KeepAnswers: policy}, Version: 1}))
	}
	r.start("a")
	for id, want := range map[string]bool{"silent": false, "open": true, "usual": true, "unknown-" + uuid.NewString(): true} {
		w := r.webhook(rec.URL+"/w", func(w *webhook.Webhook) { w.Tenant = id })
		r.deliver(w, 1)
		kept := r.oneKept(w)
		for _, text := range []string{"in-a-header", "in-the-body"} {
			if bytes.Contains(kept.raw, []byte(text)) != want {
				t.Errorf("tenant %s: %s kept is %v, want %v", id, text, !want, want)
			}
		}
		o := kept.Outcome
		if want && len(o.ResponseBody) != r.cfg.KeepAnswerBytes || !want && (o.ResponseBody != nil || o.ResponseHeaders != nil) {
			t.Errorf("tenant %s: %d bytes and %d headers kept", id, len(o.ResponseBody), len(o.ResponseHeaders))
		}
		if o.StatusCode != 503 || len(o.RequestHeaders) == 0 || o.Error == "" || strings.Contains(o.Error, "in-") {
			t.Errorf("tenant %s: %+v", id, o)
		}
		// What is not kept is still obeyed: the receiver asked for a wait of an hour.
		if kept.NextAttemptAt.Sub(kept.FinishedAt).Minutes() < 59 {
			t.Errorf("tenant %s: tried again at %s, an hour's wait was asked for", id, kept.NextAttemptAt)
		}
	}
}

func TestKeepAnswerBytesIsChecked(t *testing.T) {
	r := newRig(t, "1m")
	for n, fine := range map[int]bool{-1: false, 0: true, 4096: true, 16384: true, 16385: false} {
		r.cfg.KeepAnswerBytes = n
		if err := r.cfg.Validate(); (err == nil) != fine || err != nil && !strings.Contains(err.Error(), "sender-keep-answer-bytes: must be 0 to 16384") {
			t.Errorf("%d: %v", n, err)
		}
	}
}
