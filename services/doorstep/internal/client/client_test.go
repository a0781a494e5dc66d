package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
)

func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		answer string
		want   string // the error; empty: none
	}{
		"data":          {200, `{"data":{"id":"w1"},"meta":{"request_id":"r1","next_cursor":"c2"}}`, ""},
		"fields":        {422, `{"title":"Unprocessable Entity","status":422,"detail":"validation failed","errors":[{"field":"url","message":"is required"},{"message":"odd"}],"request_id":"r2"}`, "Unprocessable Entity (422): validation failed: url: is required; odd [request r2]"},
		"title only":    {404, `{"title":"Not Found"}`, "Not Found (404)"},
		"a proxy's":     {502, `<html>bad gateway</html>`, "Bad Gateway (502)"},
		"not Doorstep":  {200, `hello`, "is --url right?"},
		"empty, no fit": {204, ``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api/v1/webhooks/w1" || r.Header.Get("Authorization") != "Bearer dsk_secret" ||
					r.Header.Get("Doorstep-Tenant") != "acme" || r.Header.Get("Content-Type") != "application/merge-patch+json" {
					t.Errorf("request %s %v", r.URL, r.Header)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.answer))
			}))
			defer srv.Close()
			c, err := client.New(client.Config{URL: srv.URL + "/", Key: "dsk_secret", Tenant: "acme"})
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ ID string }
			page, err := c.Do(t.Context(), http.MethodPatch, "webhooks/w1", nil, map[string]any{"active": true}, &got)
			switch {
			case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			case name == "data" && (got.ID != "w1" || page.NextCursor != "c2"):
				t.Errorf("got %+v, %+v", got, page)
			}
		})
	}
}

func TestPlainWords(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, tt := range map[string]struct {
		cfg  client.Config
		want string
	}{
		"no key":         {client.Config{URL: closed.URL}, "no API key: set DOORSTEP_KEY"},
		"nothing there":  {client.Config{URL: closed.URL, Key: "dsk_secret"}, "is `doorstep up` running?"},
		"not a URL":      {client.Config{URL: "localhost:8080", Key: "dsk_secret"}, "want http://host:port"},
		"no such scheme": {client.Config{URL: "ftp://h", Key: "dsk_secret"}, "want http://host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(tt.cfg)
			if err == nil {
				_, err = c.Do(t.Context(), http.MethodGet, "webhooks", nil, nil, nil)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "dsk_") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
