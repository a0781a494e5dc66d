package post

import (
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/doorstep-dev/doorstep/pkg/egress"
)

// target is an accepted URL, with what every attempt at it needs.
type target struct {
	origin
	request *http.Request // to be copied; its answer is read by its method, and judged by its URL
	start   string        // the request's first lines: POST, Host
}

// origin is where connections lead, and what they are shared by.
type origin struct {
	secure     bool   // https
	host, port string // as dialled
}

// targets remembers accepted URLs: judging one takes long enough to matter. There are as many as webhooks.
type targets struct {
	policy egress.Policy

	mu    sync.RWMutex
	known map[string]*target // by URL as registered
}

const maxTargets = 16 << 10

func (ts *targets) of(raw string) (*target, error) {
	ts.mu.RLock()
	t := ts.known[raw]
	ts.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	u, err := ts.policy.CheckURL(raw)
	if err != nil {
		return nil, err
	}
	if t, err = newTarget(u); err != nil {
		return nil, err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.known) >= maxTargets {
		clear(ts.known)
	}
	ts.known[raw] = t
	return t, nil
}

func newTarget(u *url.URL) (*target, error) {
	o := origin{secure: u.Scheme == "https", host: u.Hostname(), port: u.Port()}
	if o.port == "" {
		o.port = "80"
		if o.secure {
			o.port = "443"
		}
	}
	t := &target{
		origin:  o,
		request: &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1},
	}
	uri := u.RequestURI()
	if strings.ContainsFunc(uri+u.Host, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return nil, &egress.Error{Code: egress.CodeURL, Reason: "the URL holds a space or a control character; leave it out"}
	}
	t.start = "POST " + uri + " HTTP/1.1\r\nHost: " + u.Host + "\r\n"
	return t, nil
}
