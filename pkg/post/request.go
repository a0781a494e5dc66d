package post

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"golang.org/x/net/http/httpguts"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// fieldError is a header that cannot be sent. Webhooks are checked when they are registered; here
// nothing must end a header's line before its end, whatever the log holds.
type fieldError struct{ name string }

func (e *fieldError) Error() string {
	return fmt.Sprintf("the webhook's header %q has a name or a value that HTTP does not allow, so nothing was sent; check the headers of the webhook", shown(e.name))
}

// fields are the headers of a request but those of its framing, with names in canonical form.
func (c *Client) fields(r Request) ([]delivery.Header, error) {
	fields := make([]delivery.Header, 0, len(r.Header)+2)
	for _, h := range r.Header {
		if !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			return nil, &fieldError{h.Name}
		}
		if h.Name = canonical(h.Name); !ownField(h.Name) {
			fields = append(fields, h)
		}
	}
	contentType := r.ContentType
	if contentType == "" {
		contentType = "application/json"
	}
	if !httpguts.ValidHeaderFieldValue(contentType) {
		return nil, &fieldError{"Content-Type"}
	}
	return append(fields, delivery.Header{Name: "Content-Type", Value: contentType}, delivery.Header{Name: "User-Agent", Value: c.userAgent}), nil
}

// canonical is http.CanonicalHeaderKey, which allocates, but for what every request has.
func canonical(name string) string {
	switch name {
	case "webhook-id":
		return "Webhook-Id"
	case "webhook-timestamp":
		return "Webhook-Timestamp"
	case "webhook-signature":
		return "Webhook-Signature"
	}
	return http.CanonicalHeaderKey(name)
}

// ownField reports whether Doorstep alone says what stands in a header. No webhook can have one.
func ownField(name string) bool {
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Expect", "Te", "Trailer", "Content-Type", "User-Agent":
		return true
	}
	return false
}

// masked are the fields for the outcome, and the secret values that were masked in them.
func masked(fields []delivery.Header) (noted []delivery.Header, secrets []string) {
	noted = fields
	for i, h := range fields[:len(fields)-2] { // but the two that are Doorstep's
		if !secretSent(h.Name, h.Value) {
			continue
		}
		if secrets == nil {
			noted = slices.Clone(fields)
		}
		secrets = addCredentials(secrets, h.Value)
		noted[i].Value = mask
	}
	return noted, secrets
}

// appendHead appends a request of HTTP/1.1 up to its body.
func appendHead(b []byte, t *target, fields []delivery.Header, bodyBytes int) []byte {
	b = append(b, t.start...)
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(bodyBytes), 10)
	for _, h := range fields {
		b = append(b, "\r\n"...)
		b = append(b, h.Name...)
		b = append(b, ": "...)
		b = append(b, h.Value...)
	}
	return append(b, "\r\n\r\n"...)
}

// requestOver2 is a request for HTTP/2. Without GetBody, no library sends its body twice.
func requestOver2(t *target, fields []delivery.Header, body []byte) *http.Request {
	req := *t.request
	req.Header = make(http.Header, len(fields))
	for _, h := range fields {
		req.Header[h.Name] = []string{h.Value}
	}
	req.ContentLength = int64(len(body))
	req.Body = http.NoBody
	if len(body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return &req
}
