package post

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

var errTooLarge = errors.New("answer body too large")

// read notes the answer in out and reads its body, and reports whether it came to the end, so that the
// connection can be used again. It errs only where that decides the attempt: the status of a refusal says more
// than what becomes of its body. Where the answer repeats one of the secrets that were sent, it is masked.
func (c *Client) read(resp *http.Response, secrets []string, out *delivery.Outcome) (whole bool, err error) {
	out.StatusCode = resp.StatusCode
	out.ResponseHeaders = noted(resp.Header, secrets)
	ok := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if !ok {
		out.ErrorCode, out.Error = refusal(resp)
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			out.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.config.Now())
		}
	}
	resp.Header = nil // many short ones take thirty times their bytes, and the body may be long in coming
	if resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.Body == http.NoBody, nil
	}
	buffer := c.bodies.Get().(*[]byte)
	defer c.bodies.Put(buffer)
	kept, err := readBody(resp.Body, *buffer, c.keep)
	if len(kept) > 0 {
		out.ResponseBody = withoutSecrets(bytes.Clone(kept), secrets)
	}
	if ok {
		return err == nil, err
	}
	return err == nil, nil
}

// readBody reads up to MaxBodyBytes and returns the first keep of them, within buffer, which is
// longer than that. It errs unless it came to the end.
func readBody(r io.Reader, buffer []byte, keep int) ([]byte, error) {
	kept, total := 0, 0
	for {
		into := buffer[kept:keep]
		if kept == keep {
			into = buffer[keep:]
		}
		n, err := r.Read(into)
		if kept < keep {
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
func noted(h http.Header, secrets []string) []delivery.Header {
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
			return slices.Clone(all[:i])
		}
		if secretName(all[i].Name) || secretValue(all[i].Value) || repeats(all[i].Value, secrets) {
			all[i].Value = mask
		}
		all[i].Name = strings.ToValidUTF8(all[i].Name, "?")
		all[i].Value = strings.ToValidUTF8(all[i].Value, "?")
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
