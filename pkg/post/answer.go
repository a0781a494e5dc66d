package post

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

var errTooLarge = errors.New("answer body too large")

// read notes the answer in out and reads its body to the end, so that the connection can be used
// again. It errs only where that decides the attempt: the status of a refusal says more than what
// becomes of its body.
func (c *Client) read(resp *http.Response, out *delivery.Outcome) error {
	defer resp.Body.Close() // before the end of the body it also closes the connection
	out.StatusCode = resp.StatusCode
	out.ResponseHeaders = noted(resp.Header)
	ok := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if !ok {
		out.ErrorCode, out.Error = refusal(resp)
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			out.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.config.Now())
		}
	}
	if resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	buffer := c.buffers.Get().(*[bufferSize]byte)
	defer c.buffers.Put(buffer)
	kept, err := readBody(resp.Body, buffer)
	if len(kept) > 0 {
		out.ResponseBody = bytes.Clone(kept)
	}
	if ok {
		return err
	}
	return nil
}

// readBody reads up to MaxBodyBytes and returns the first KeptBodyBytes, within buffer. It errs
// unless it came to the end.
func readBody(r io.Reader, buffer *[bufferSize]byte) ([]byte, error) {
	kept, total := 0, 0
	for {
		into := buffer[kept:KeptBodyBytes]
		if kept == KeptBodyBytes {
			into = buffer[KeptBodyBytes:]
		}
		n, err := r.Read(into)
		if kept < KeptBodyBytes {
			kept += n
		}
		total += n
		switch {
		case total > MaxBodyBytes:
			return buffer[:kept], errTooLarge
		case err == io.EOF:
			return buffer[:kept], nil
		case err != nil:
			return buffer[:kept], err
		}
	}
}

// noted are an answer's headers for the outcome: sorted, at most keptHeaders bytes of them, valid
// UTF-8, secrets masked.
func noted(h http.Header) []delivery.Header {
	if len(h) == 0 {
		return nil
	}
	all := make([]delivery.Header, 0, len(h))
	for name, values := range h {
		for _, value := range values {
			all = append(all, delivery.Header{Name: name, Value: value})
		}
	}
	slices.SortStableFunc(all, func(a, b delivery.Header) int { return strings.Compare(a.Name, b.Name) })
	size := 0
	for i := range all {
		if size += len(all[i].Name) + len(all[i].Value); size > keptHeaders {
			return all[:i:i]
		}
		all[i].Name = strings.ToValidUTF8(all[i].Name, "?")
		all[i].Value = masked(all[i].Name, strings.ToValidUTF8(all[i].Value, "?"))
	}
	return all
}

// maxRetryAfter is the longest wait that a receiver can ask for.
const maxRetryAfter = time.Hour

// retryAfter reads a Retry-After header: seconds, or a date. What cannot be read, and what is
// over, is 0.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) { // err: more digits than fit
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// secretWords are what the name of a header that holds a secret often has in it.
var secretWords = []string{"auth", "cookie", "token", "key", "secret", "signature", "password"}

// mask stands for a secret value.
const mask = "***"

// masked is a header's value unless its name looks like a secret's. Doorstep's own signature is
// shown: it is good for this body alone, and who debugs a receiver has to compare it.
func masked(name, value string) string {
	if strings.HasPrefix(name, "Webhook-") {
		return value
	}
	for _, word := range secretWords {
		if containsFold(name, word) {
			return mask
		}
	}
	return value
}

// containsFold reports whether s holds word, which is in lower-case letters, in any case. It runs
// for every header of every attempt, so it allocates nothing.
func containsFold(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0] && strings.EqualFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

// refusal is the code and the words for an answer that is no success.
func refusal(resp *http.Response) (code, words string) {
	answered := fmt.Sprintf("the receiver answered %d", resp.StatusCode)
	if text := http.StatusText(resp.StatusCode); text != "" {
		answered += " " + text
	}
	switch s := resp.StatusCode; {
	case s == http.StatusSwitchingProtocols:
		return CodeProtocol, answered + ": it must answer a POST with a status from 200 to 299"
	case s >= 300 && s <= 399:
		return CodeRedirect, answered + ": redirects are not followed; set the webhook's URL to where it leads"
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return CodeStatus, answered + ": check the webhook's secret and the credentials in its headers"
	case s == http.StatusNotFound || s == http.StatusMethodNotAllowed:
		return CodeStatus, answered + ": check the path in the webhook's URL, and that it takes POST"
	case s == http.StatusGone:
		return CodeStatus, answered + ": it wants no more webhooks at this URL"
	case s == http.StatusTooManyRequests:
		return CodeStatus, answered + ": it asks for fewer requests; set a rate limit on the webhook"
	case s >= 500:
		return CodeStatus, answered + ": look for the cause in the receiver's log"
	default:
		return CodeStatus, answered + ": it must answer with a status from 200 to 299"
	}
}
