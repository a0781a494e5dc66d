package signature_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/signature"
)

// maxBody is above any body that Doorstep sends. A receiver that anyone can POST to reads no further.
const maxBody = 1 << 20

// Receiver takes webhooks. It verifies the body as it came, and only then parses it.
type Receiver struct {
	// Secrets that webhooks may be signed with: the webhook's own and, while that is being replaced, its
	// successor or its predecessor; or the public key of its key pair.
	Secrets []signature.Secret
	// Handle gets each verified webhook. One may come twice, with the same id: remember the ids.
	Handle func(id string, body []byte) error
}

// NewReceiver reads secrets, whsec_ or whpk_, as they stand in your settings.
func NewReceiver(handle func(id string, body []byte) error, secrets ...string) (*Receiver, error) {
	r := &Receiver{Handle: handle}
	for i, text := range secrets {
		s, err := signature.ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		r.Secrets = append(r.Secrets, s)
	}
	return r, nil
}

// ServeHTTP answers what Doorstep, and whoever looks into it, should know: 204 once the webhook is taken; 400,
// 401 and 413 to what is no webhook of ours; 500 if it could not be taken now, so that it comes again later.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the body did not come whole", http.StatusBadRequest)
		return
	}
	headers := signature.HeadersOf(req.Header)
	if err := signature.Verify(r.Secrets, headers, body, time.Now(), signature.Tolerance); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	// Store it and answer; the work comes afterwards, for Doorstep waits 10 seconds only.
	if err := r.Handle(headers.ID, body); err != nil {
		http.Error(w, "not taken", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// post sends a webhook to a receiver as Doorstep does, and prints the answer.
func post(receiver http.Handler, id, body string, keys ...signature.Key) {
	now := time.Now()
	value, err := signature.Sign(keys, id, now, []byte(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(body))
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", signature.Timestamp(now))
	r.Header.Set("webhook-signature", value)
	w := httptest.NewRecorder()
	receiver.ServeHTTP(w, r)
	fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body)))
}

// A receiver reads the body as it came, verifies it, and only then parses it.
func ExampleVerify() {
	receiver, err := NewReceiver(func(id string, body []byte) error {
		fmt.Printf("%s: %s\n", id, body)
		return nil
	}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	known, unknown := receiver.Secrets[0], signature.NewSecret([32]byte{1})
	post(receiver, "msg_1", `{"type":"card.updated"}`, signature.Key{Secret: known})
	post(receiver, "msg_2", `{"type":"card.updated"}`, signature.Key{Secret: unknown})
	post(receiver, "msg_3", strings.Repeat(" ", maxBody+1), signature.Key{Secret: known})
	// Output:
	// msg_1: {"type":"card.updated"}
	// 204
	// 401 no signature matches: check the secret, and that the body is verified as it came, before it is parsed
	// 413 the body is too large
}
