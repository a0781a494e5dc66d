package receiver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/receiver"
)

// post makes one signed request and returns the status.
func post(t *testing.T, r http.Handler, secret signature.Secret, id, signed, sent string) int {
	t.Helper()
	at := time.Now()
	sig, err := signature.Sign([]signature.Key{{Secret: secret}}, id, at, []byte(signed))
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hook", strings.NewReader(sent))
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", signature.Timestamp(at))
	req.Header.Set("webhook-signature", sig)
	req.Header.Set(receiver.EventTypeHeader, "card.updated")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Code
}

func TestVerifiesCountsAndFailsFirst(t *testing.T) {
	secret, other := signature.NewSecret([32]byte{1}), signature.NewSecret([32]byte{2})
	var told []receiver.Request
	r, err := receiver.New(receiver.Config{Secrets: []signature.Secret{secret}, FailFirst: 1, Status: 202, Told: func(q receiver.Request) { told = append(told, q) }})
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		secret             signature.Secret
		id, signed, sent   string
		status, attempt    int
		sameBody, verified bool
	}{
		{secret, "d1", "{}", "{}", 500, 1, true, true},
		{secret, "d2", "{}", "{}", 500, 1, true, true},
		{secret, "d1", "{}", "{}", 202, 2, true, true},
		{secret, "d1", "[]", "[]", 202, 3, false, true},
		{secret, "d2", "{}", "{ }", 401, 2, false, false},
		{other, "d2", "{}", "{}", 401, 3, true, false},
	} {
		if got := post(t, r, tt.secret, tt.id, tt.signed, tt.sent); got != tt.status {
			t.Errorf("%d: status %d, want %d", i, got, tt.status)
		}
		q := told[i]
		if q.ID != tt.id || q.Attempt != tt.attempt || q.SameBody != tt.sameBody || q.EventType != "card.updated" || string(q.Body) != tt.sent {
			t.Errorf("%d: told %+v", i, q)
		}
		if got := q.Verdict() == "signature verified"; got != tt.verified {
			t.Errorf("%d: %s, want verified %t", i, q.Verdict(), tt.verified)
		}
	}
}

// While a secret is being replaced a receiver has both, and learns which of them Doorstep signs with.
func TestSecretsAreReplaced(t *testing.T) {
	former, current, pair, other := signature.NewSecret([32]byte{1}), signature.NewSecret([32]byte{2}), signature.NewKeyPair([32]byte{3}), signature.NewSecret([32]byte{4})
	public, _ := pair.Public()
	var told receiver.Request
	r, err := receiver.New(receiver.Config{Secrets: []signature.Secret{former, current, public}, Told: func(q receiver.Request) { told = q }})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		secret  signature.Secret
		status  int
		verdict string
	}{
		{former, 204, "signature verified by secret 1 of 3"},
		{current, 204, "signature verified by secret 2 of 3"},
		{pair, 204, "signature verified by secret 3 of 3"},
		{other, 401, "signature REFUSED: no signature matches"},
	} {
		if got := post(t, r, tt.secret, "d1", "{}", "{}"); got != tt.status || !strings.HasPrefix(told.Verdict(), tt.verdict) {
			t.Errorf("%d, %s; want %d, %s", got, told.Verdict(), tt.status, tt.verdict)
		}
	}
	at := time.Now()
	both, err := signature.Sign([]signature.Key{{Secret: current}, {Secret: former}}, "d2", at, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	h := signature.Headers{ID: "d2", Timestamp: signature.Timestamp(at), Signature: both}
	by, err := receiver.Verify([]signature.Secret{former, public, current}, h, []byte("{}"), at, signature.Tolerance)
	if err != nil || receiver.ByWhich(by, 3) != " by secrets 1 and 3 of 3" {
		t.Errorf("signed with both: %v, %v", by, err)
	}
}

func TestWithoutASecretNothingIsVerified(t *testing.T) {
	var verdict string
	r, err := receiver.New(receiver.Config{Told: func(q receiver.Request) { verdict = q.Verdict() }})
	if err != nil {
		t.Fatal(err)
	}
	if got := post(t, r, signature.NewSecret([32]byte{1}), "d1", "{}", "{}"); got != 204 || !strings.Contains(verdict, "not checked") {
		t.Errorf("status %d, %s", got, verdict)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := receiver.New(receiver.Config{Delay: 12 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		post(t, r, signature.NewSecret([32]byte{1}), "d1", "{}", "{}")
		if took := time.Since(start); took != 12*time.Second {
			t.Errorf("answered after %s", took)
		}
	})
}

func TestImpossibleStatus(t *testing.T) {
	if _, err := receiver.New(receiver.Config{Status: 99}); err == nil {
		t.Error("status 99 is taken")
	}
}
