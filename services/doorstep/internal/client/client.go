// Package client talks to a running Doorstep over REST, for the commands of the program.
//
// Answers come as {"data": ..., "meta": ...}, errors as application/problem+json; both are
// unwrapped here. Nothing that it returns or prints holds the API key.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// requestTimeout bounds one call; the longest is a registration that resolves a host name (1 s).
const requestTimeout = 30 * time.Second

// maxAnswerBytes bounds what is read of an answer: 500 deliveries of a page with their attempts.
const maxAnswerBytes = 64 << 20

// Config says which Doorstep to talk to, and as whom.
type Config struct {
	URL    string `name:"url" env:"DOORSTEP_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Where Doorstep's REST API answers."`
	Key    string `name:"key" env:"DOORSTEP_KEY" placeholder:"dsk_..." help:"The API key. Better given by its environment variable: other users can see a command's flags."`
	TLS    TLS    `embed:""`
	Tenant string `name:"as-tenant" env:"DOORSTEP_TENANT" placeholder:"TENANT" help:"The tenant that a platform key acts for. Without it: default."`
}

// Client is a REST client.
type Client struct {
	cfg    Config
	secure *tls.Config
	http   *http.Client
}

// New makes a client. It errs if the URL is none.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if strings.Contains(cfg.URL, "@") { // which is in none that we want, and errors repeat the URL
		return nil, errors.New("--url: no user and password belong there; the API key goes into DOORSTEP_KEY")
	}
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("--url %q: want http://host:port or https://host", cfg.URL)
	}
	cfg.URL = strings.TrimRight(cfg.URL, "/")
	secure, err := cfg.TLS.Config()
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, secure: secure, http: &http.Client{Timeout: requestTimeout, Transport: transport(secure)}}, nil
}

// Page is the `meta` of an answer.
type Page struct {
	RequestID  string `json:"request_id"`
	NextCursor string `json:"next_cursor"`
	Notice     string `json:"notice"` // what did not follow although the request was carried out
	Location   string `json:"-"`      // path of what was made, from the header
}

// Do makes one call to path below /api/v1 and decodes the answer's data into `into`, unless it
// is nil. body is sent as JSON, unless it is nil. An answer that is not 2xx is a *Problem.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body, into any) (Page, error) {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return Page{}, err
	}
	header, b, err := c.answer(req)
	if err != nil {
		return Page{}, err
	}
	if len(b) == 0 || into == nil {
		return Page{}, nil
	}
	answer := struct {
		Data any  `json:"data"`
		Meta Page `json:"meta"`
	}{Data: into}
	if err := json.Unmarshal(b, &answer); err != nil {
		return Page{}, fmt.Errorf("%s %s: the answer is not Doorstep's; is --url right?", method, req.URL)
	}
	answer.Meta.Location = header.Get("Location")
	return answer.Meta, nil
}

// Document is what a GET of path below /api/v1 answers, as it is. An answer that is not 2xx is a *Problem.
func (c *Client) Document(ctx context.Context, path string, query url.Values) ([]byte, error) {
	req, err := c.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	_, b, err := c.answer(req)
	return b, err
}

// answer makes a call and reads its answer.
func (c *Client) answer(req *http.Request) (http.Header, []byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: read the answer: %w", req.Method, req.URL.Path, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, nil, problemOf(resp, b)
	}
	return resp.Header, b, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	if c.cfg.Key == "" {
		return nil, errors.New("no API key: set DOORSTEP_KEY (a first `doorstep up` prints one)")
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		content = bytes.NewReader(b)
	}
	target := c.cfg.URL + "/api/v1/" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	req.Header.Set("Accept", "application/json")
	if c.cfg.Tenant != "" {
		req.Header.Set("Doorstep-Tenant", c.cfg.Tenant)
	}
	switch {
	case body == nil:
	case method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	default:
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// unreachable puts a failed call in plain words.
func (c *Client) unreachable(err error) error {
	var (
		dns     *net.DNSError
		u       *url.Error
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%s shows a certificate of an authority that this machine does not trust: DOORSTEP_CA_FILE names its file", c.cfg.URL)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no type for it
		return fmt.Errorf("%s does not speak TLS: is it http://? (DOORSTEP_URL says where Doorstep is)", c.cfg.URL)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing answers at %s: is `doorstep up` running? (DOORSTEP_URL says where)", c.cfg.URL)
	case errors.As(err, &dns):
		return fmt.Errorf("%s: no such host %s (DOORSTEP_URL says where Doorstep is)", c.cfg.URL, dns.Name)
	case errors.As(err, &u):
		return fmt.Errorf("%s: %w", c.cfg.URL, u.Err)
	}
	return fmt.Errorf("%s: %w", c.cfg.URL, err)
}
