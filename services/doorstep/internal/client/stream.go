package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Waits of answers that go on: for a connection, and for the first line.
const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
)

// Open makes a GET of a path below /api/v1 whose answer is read as it comes: it has no time limit but ctx. An
// answer that is not 2xx is a *Problem. The caller closes what it gets.
func (c *Client) Open(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	req, err := c.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	// A connection of its own each time, which ends with the answer.
	own := transport(c.secure)
	own.DisableKeepAlives, own.ResponseHeaderTimeout = true, headerTimeout
	resp, err := (&http.Client{Transport: own}).Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("GET %s: read the answer: %w", req.URL.Path, err)
	}
	return nil, problemOf(resp, b)
}
