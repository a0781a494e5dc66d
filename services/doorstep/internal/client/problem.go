package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Problem is an answer that says no: RFC 9457, with the fields at fault and the request's id.
type Problem struct {
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	RequestID string  `json:"request_id"`
	Errors    []Fault `json:"errors"`
}

// Fault is one field at fault.
type Fault struct {
	Field   string `json:"field"` // e.g. payload.format
	Message string `json:"message"`
}

// problemOf reads an answer that is not 2xx. One that is no problem+json comes from a proxy or
// from another program: its status is all that can be told.
func problemOf(resp *http.Response, body []byte) *Problem {
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Title == "" {
		p = Problem{Title: http.StatusText(resp.StatusCode)}
		if strings.Contains(string(body), "HTTP request to an HTTPS server") { // net/http's words
			p.Detail = "Doorstep speaks TLS there: DOORSTEP_URL must begin with https://"
		}
	}
	p.Status = resp.StatusCode
	return &p
}

// Error is one line: what was wrong, the fields at fault, the request to ask the operator about.
func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d)", p.Title, p.Status)
	if p.Detail != "" && p.Detail != p.Title {
		fmt.Fprintf(&b, ": %s", p.Detail)
	}
	for i, f := range p.Errors {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		if f.Field != "" {
			fmt.Fprintf(&b, "%s%s: %s", separator, f.Field, f.Message)
		} else {
			fmt.Fprintf(&b, "%s%s", separator, f.Message)
		}
	}
	if p.RequestID != "" {
		fmt.Fprintf(&b, " [request %s]", p.RequestID)
	}
	return b.String()
}
