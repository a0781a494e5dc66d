package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Refusal is an answer with another status than was wanted.
type Refusal struct {
	Status int
	what   string
}

// Error is error's.
func (r *Refusal) Error() string { return r.what }

// REST asks a console, of which the first is 0, with the platform key; path follows /api/v1/. in is sent as JSON, nil: nothing is.
// out takes the answer's data, all its bytes if it is a *[]byte, and may be nil. It errs unless the answer's status is want,
// with a Refusal if it is another.
func (c *Cluster) REST(ctx context.Context, console int, method, path string, in any, want int, out any) error {
	req, err := c.request(ctx, console, method, path, in)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != want {
		return &Refusal{resp.StatusCode, fmt.Sprintf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, want, answer)}
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = answer
		return nil
	default:
		return json.Unmarshal(answer, &struct{ Data any }{out})
	}
}

func (c *Cluster) request(ctx context.Context, console int, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Of("console")[console].Addr+"/api/v1/"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	switch {
	case in == nil:
	case method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	default:
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
