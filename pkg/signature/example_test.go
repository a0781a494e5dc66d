package signature_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/signature"
)

// A receiver reads the body as it came, verifies it, and only then parses it.
func ExampleVerify() {
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") // from your settings
	if err != nil {
		fmt.Println(err)
		return
	}
	receive := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			return
		}
		err = signature.Verify([]signature.Secret{secret}, signature.HeadersOf(r.Header), body, time.Now(), signature.Tolerance)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}

	now := time.Now()
	body := `{"type":"card.updated"}`
	value, err := signature.Sign([]signature.Key{{Secret: secret}}, "msg_1", now, []byte(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, sent := range []string{body, `{"type":"card.deleted"}`} {
		r := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(sent))
		r.Header.Set("webhook-id", "msg_1")
		r.Header.Set("webhook-timestamp", signature.Timestamp(now))
		r.Header.Set("webhook-signature", value)
		w := httptest.NewRecorder()
		receive(w, r)
		fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body)))
	}
	// Output:
	// 204
	// 401 no signature matches: check the secret, and that the body is verified as it came, before it is parsed
}
