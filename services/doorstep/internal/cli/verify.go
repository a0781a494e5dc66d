package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/receiver"
)

type verifyCmd struct {
	Secrets   []string      `name:"secret" env:"DOORSTEP_WEBHOOK_SECRET" required:"" placeholder:"whsec_..." help:"The webhook's secret, or its public key (whpk_...). Of several, given again or with commas between them, one has to match."`
	Body      string        `placeholder:"FILE" help:"The body alone, at most Content-Length of it; the request file then holds the headers only."`
	Tolerance time.Duration `placeholder:"DURATION" help:"Refuse a timestamp that is further than this from now. Not given: the age is told, not judged."`
	Output    output        `embed:""`
	Request   string        `arg:"" placeholder:"FILE" help:"The request as it was saved ('-': stdin): headers, an empty line, the body. A request line may come first."`
}

// Run says whether the signature is right.
func (c *verifyCmd) Run(streams IO) error {
	secrets, err := parseSecrets(c.Secrets)
	if err != nil {
		return err
	}
	saved, err := readFile(c.Request, streams.In)
	if err != nil {
		return err
	}
	header, body, err := splitRequest(saved)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Request, err)
	}
	if c.Body != "" {
		if body, err = readFile(c.Body, streams.In); err != nil {
			return err
		}
		body = cut(header, body)
	}
	h := signature.HeadersOf(header)
	now := time.Now()
	age, known := ageOf(h, now)
	judged, tolerance := now, c.Tolerance
	if tolerance == 0 && known {
		judged = now.Add(-age) // its own time: only the signature is judged
	}
	by, wrong := receiver.Verify(secrets, h, body, judged, tolerance)
	return c.print(streams.Out, h.ID, age, by, wrong)
}

// parseSecrets reads what --secret was given.
func parseSecrets(texts []string) ([]signature.Secret, error) {
	secrets := make([]signature.Secret, len(texts))
	for i, text := range texts {
		var err error
		if secrets[i], err = signature.ParseSecret(strings.TrimSpace(text)); err != nil && len(texts) > 1 {
			return nil, usageError{fmt.Errorf("--secret, number %d: %w", i+1, err)}
		} else if err != nil {
			return nil, usageError{fmt.Errorf("--secret: %w", err)}
		}
	}
	return secrets, nil
}

func (c *verifyCmd) print(w io.Writer, id string, age time.Duration, by []int, wrong error) error {
	answer := struct {
		ID       string  `json:"id"`
		Verified bool    `json:"verified"`
		Secrets  []int   `json:"secrets,omitempty"` // those that match, counted from 1
		Reason   string  `json:"reason,omitempty"`
		Age      float64 `json:"age_seconds"`
	}{ID: id, Verified: wrong == nil, Secrets: by, Age: age.Seconds()}
	if wrong != nil {
		answer.Reason = wrong.Error()
	}
	done, err := c.Output.json(w, answer)
	switch {
	case err != nil:
		return err
	case wrong != nil:
		return fmt.Errorf("signature refused: %w", wrong)
	case done:
		return nil
	}
	note := ""
	if age > signature.Tolerance || age < -signature.Tolerance {
		note = fmt.Sprintf("; a receiver should refuse it by now, its timestamp is %s off", about(age.Abs()))
	}
	_, err = fmt.Fprintf(w, "signature verified%s: %s%s\n", receiver.ByWhich(by, len(c.Secrets)), printable(id), note)
	return err
}

// about is a duration to read: to the second, or in days if it is long.
func about(d time.Duration) string {
	if days := d / (24 * time.Hour); days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return d.Round(time.Second).String()
}

// ageOf is how long ago the webhook was signed, by its timestamp.
func ageOf(h signature.Headers, now time.Time) (time.Duration, bool) {
	seconds, err := strconv.ParseInt(h.Timestamp, 10, 64)
	if err != nil {
		return 0, false
	}
	return now.Sub(time.Unix(seconds, 0)), true
}

// splitRequest takes a saved request apart. The body is all that follows the first empty line, at
// most Content-Length.
func splitRequest(saved []byte) (http.Header, []byte, error) {
	r := bufio.NewReader(bytes.NewReader(saved))
	if line, _, _ := bytes.Cut(saved, []byte("\n")); requestLine(line) {
		if _, err := r.ReadString('\n'); err != nil {
			return nil, nil, errors.New("holds a request line only")
		}
	}
	mime, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("want lines of Name: value, an empty line, then the body")
	}
	header := http.Header(mime)
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, err
	}
	return header, cut(header, body), nil
}

// cut cuts a body to its Content-Length: editors add a line's end to a file.
func cut(header http.Header, body []byte) []byte {
	if n, err := strconv.Atoi(header.Get("Content-Length")); err == nil && n >= 0 && n < len(body) {
		return body[:n]
	}
	return body
}

// requestLine reports whether a line is like "POST /hook HTTP/1.1".
func requestLine(line []byte) bool {
	return strings.HasPrefix(string(bytes.TrimSpace(line)), http.MethodPost+" ")
}
