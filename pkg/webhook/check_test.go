package webhook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// letters is a text of n characters in 2n bytes.
func letters(n int) string { return strings.Repeat("ä", n) }

// several are n different texts, which are event types, header names and paths alike.
func several(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprint("x", i)
	}
	return texts
}

func mapOf(keys []string, value string) map[string]string {
	m := map[string]string{}
	for _, k := range keys {
		m[k] = value
	}
	return m
}

func headersOf(names []string) (headers []webhook.Header) {
	for _, n := range names {
		headers = append(headers, webhook.Header{Name: n, Value: webhook.Plain([]byte("v"))})
	}
	return headers
}

// rules are changes to a sound webhook by what they show, with the one field at fault then; "" is
// none.
type rules map[string]struct {
	change func(*webhook.Webhook)
	want   string
}

func (r rules) check(t *testing.T) {
	t.Helper()
	for name, tt := range r {
		t.Run(name, func(t *testing.T) {
			w := webhook.Webhook{URL: "https://example.com/hook", EventTypes: []string{"card.updated"}}
			tt.change(&w)
			got, want := []string{}, []string{}
			if tt.want != "" {
				want = append(want, tt.want)
			}
			for _, f := range w.Check() {
				got = append(got, f.Name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("fields at fault (-want +got): %s", diff)
			}
		})
	}
}

func TestCheckTexts(t *testing.T) {
	rules{
		"only what is required":    {func(*webhook.Webhook) {}, ""},
		"url missing":              {func(w *webhook.Webhook) { w.URL = "" }, "url"},
		"url at the limit":         {func(w *webhook.Webhook) { w.URL = letters(512) }, ""},
		"url above":                {func(w *webhook.Webhook) { w.URL = letters(513) }, "url"},
		"name at the limit":        {func(w *webhook.Webhook) { w.Name = letters(150) }, ""},
		"name above":               {func(w *webhook.Webhook) { w.Name = letters(151) }, "name"},
		"name not UTF-8":           {func(w *webhook.Webhook) { w.Name = "\xff" }, "name"},
		"description at the limit": {func(w *webhook.Webhook) { w.Description = letters(150) }, ""},
		"description above":        {func(w *webhook.Webhook) { w.Description = letters(151) }, "description"},
		"condition at the limit":   {func(w *webhook.Webhook) { w.Condition = letters(2048) }, ""},
		"condition above":          {func(w *webhook.Webhook) { w.Condition = letters(2049) }, "condition"},
		"reference at the limit":   {func(w *webhook.Webhook) { w.ExternalReference = letters(256) }, ""},
		"reference above":          {func(w *webhook.Webhook) { w.ExternalReference = letters(257) }, "external_reference"},
	}.check(t)
}

func TestCheckEventTypes(t *testing.T) {
	cases := rules{
		"none":             {func(w *webhook.Webhook) { w.EventTypes = nil }, "event_types"},
		"at the limit":     {func(w *webhook.Webhook) { w.EventTypes = several(200) }, ""},
		"above":            {func(w *webhook.Webhook) { w.EventTypes = several(201) }, "event_types"},
		"one twice":        {func(w *webhook.Webhook) { w.EventTypes = []string{"a", "b", "a"} }, "event_types"},
		"a type and below": {func(w *webhook.Webhook) { w.EventTypes = []string{"card", "card.*"} }, ""},
	}
	for _, pattern := range []string{"card.updated", "card", "card.*", "card.cover.*", "*", "a_1.b"} {
		cases["may be "+pattern] = struct {
			change func(*webhook.Webhook)
			want   string
		}{func(w *webhook.Webhook) { w.EventTypes = []string{pattern} }, ""}
	}
	for _, pattern := range []string{"", ".*", "card*", "*.updated", "card.*.updated", "card.*.*", "**", "Card.*", "card..x", "card.x ", strings.Repeat("a", 129)} {
		cases["may not be "+pattern] = struct {
			change func(*webhook.Webhook)
			want   string
		}{func(w *webhook.Webhook) { w.EventTypes = []string{pattern} }, "event_types"}
	}
	cases.check(t)
}

func TestCheckMaps(t *testing.T) {
	rules{
		"filters at the limit":         {func(w *webhook.Webhook) { w.Filters = mapOf(several(16), letters(256)) }, ""},
		"filters above":                {func(w *webhook.Webhook) { w.Filters = mapOf(several(17), "v") }, "filters"},
		"filter key empty":             {func(w *webhook.Webhook) { w.Filters = mapOf([]string{""}, "v") }, "filters"},
		"filter key at the limit":      {func(w *webhook.Webhook) { w.Filters = mapOf([]string{letters(64)}, "v") }, ""},
		"filter key above":             {func(w *webhook.Webhook) { w.Filters = mapOf([]string{letters(65)}, "v") }, "filters"},
		"filter key not UTF-8":         {func(w *webhook.Webhook) { w.Filters = mapOf([]string{"\xff"}, "v") }, "filters"},
		"filter value above":           {func(w *webhook.Webhook) { w.Filters = mapOf([]string{"k"}, letters(257)) }, "filters[k]"},
		"filter value not UTF-8":       {func(w *webhook.Webhook) { w.Filters = mapOf([]string{"k"}, "\xff") }, "filters[k]"},
		"metadata at the limit":        {func(w *webhook.Webhook) { w.Metadata = mapOf(several(32), letters(512)) }, ""},
		"metadata above":               {func(w *webhook.Webhook) { w.Metadata = mapOf(several(33), "v") }, "metadata"},
		"metadata key above":           {func(w *webhook.Webhook) { w.Metadata = mapOf([]string{letters(65)}, "v") }, "metadata"},
		"metadata value above":         {func(w *webhook.Webhook) { w.Metadata = mapOf([]string{"k"}, letters(513)) }, "metadata[k]"},
		"metadata value that is empty": {func(w *webhook.Webhook) { w.Metadata = mapOf([]string{"k"}, "") }, ""},
	}.check(t)
}

func TestCheckHeaders(t *testing.T) {
	value := func(v string) func(*webhook.Webhook) {
		return func(w *webhook.Webhook) {
			w.Headers = []webhook.Header{{Name: "X-Team", Value: webhook.Plain([]byte(v))}}
		}
	}
	cases := rules{
		"at the limit":             {func(w *webhook.Webhook) { w.Headers = headersOf(several(20)) }, ""},
		"above":                    {func(w *webhook.Webhook) { w.Headers = headersOf(several(21)) }, "headers"},
		"one twice":                {func(w *webhook.Webhook) { w.Headers = headersOf([]string{"X-Team", "x-team"}) }, "headers[x-team]"},
		"Authorization":            {func(w *webhook.Webhook) { w.Headers = headersOf([]string{"Authorization"}) }, ""},
		"name empty":               {func(w *webhook.Webhook) { w.Headers = headersOf([]string{""}) }, "headers[]"},
		"name with a space":        {func(w *webhook.Webhook) { w.Headers = headersOf([]string{"X Team"}) }, "headers[X Team]"},
		"name with a break":        {func(w *webhook.Webhook) { w.Headers = headersOf([]string{"X\r\n"}) }, "headers[X\r\n]"},
		"value at the limit":       {value(strings.Repeat("v", 1024)), ""},
		"value above":              {value(strings.Repeat("v", 1025)), "headers[X-Team]"},
		"value above in bytes":     {value(letters(513)), "headers[X-Team]"},
		"value with a break":       {value("a\r\nHost: b"), "headers[X-Team]"},
		"value with a zero":        {value("a\x00"), "headers[X-Team]"},
		"value not UTF-8":          {value("\xff"), "headers[X-Team]"},
		"value with a letter ours": {value("ä"), ""},
	}
	for _, name := range []string{
		"Host", "content-length", "Content-Type", "Content-Encoding", "Content-Language", "Transfer-Encoding", "Connection", "Keep-Alive", "TE",
		"Trailer", "Upgrade", "Expect", "Proxy-Connection", "Proxy-Authorization", "User-Agent", "Accept-Encoding",
		"traceparent", "tracestate", "webhook-id", "Webhook-Anything", "DOORSTEP-EVENT-TYPE",
	} {
		cases[name+" is reserved"] = struct {
			change func(*webhook.Webhook)
			want   string
		}{func(w *webhook.Webhook) { w.Headers = headersOf([]string{name}) }, "headers[" + name + "]"}
	}
	cases.check(t)
}

// Sealed values were checked before they were sealed; names count all the same.
func TestCheckSealedHeaders(t *testing.T) {
	sealed := func(names ...string) func(*webhook.Webhook) {
		return func(w *webhook.Webhook) {
			for _, n := range names {
				w.Headers = append(w.Headers, webhook.Header{Name: n, Value: webhook.Sealed{KeyID: "k1", Bytes: append(make([]byte, 2000), 0xff, '\n')}})
			}
		}
	}
	rules{
		"sound":      {sealed("X-Team", "Authorization"), ""},
		"a bad name": {sealed("X Team"), "headers[X Team]"},
		"reserved":   {sealed("webhook-id"), "headers[webhook-id]"},
		"one twice":  {sealed("X-Team", "x-team"), "headers[x-team]"},
	}.check(t)
}

func TestCheckPayload(t *testing.T) {
	cases := rules{
		"nothing excluded": {func(w *webhook.Webhook) { w.Payload.Exclude = &[]string{} }, ""},
		"paths at the limit": {func(w *webhook.Webhook) {
			paths := several(64)
			w.Payload.Exclude = &paths
		}, ""},
		"paths above": {func(w *webhook.Webhook) {
			paths := several(65)
			w.Payload.Exclude = &paths
		}, "payload.exclude"},
		"another format": {func(w *webhook.Webhook) { w.Payload.Format = "xml" }, "payload.format"},
	}
	add := func(name, want string, change func(*webhook.Webhook)) {
		cases[name] = struct {
			change func(*webhook.Webhook)
			want   string
		}{change, want}
	}
	for _, f := range []webhook.Format{"", "raw", "standard", "cloudevents", "thin"} {
		add("format "+string(f), "", func(w *webhook.Webhook) { w.Payload.Format = f })
	}
	for _, path := range []string{"current", "current.customer.email", "a.0.b", "naïve", strings.Repeat("a", 256)} {
		add("path "+path, "", func(w *webhook.Webhook) { w.Payload.Exclude = &[]string{path} })
	}
	for _, path := range []string{"", ".", "a.", ".a", "a..b", "a b", "a\n", strings.Repeat("a", 257), letters(129), "\xff"} {
		add("not a path: "+path, "payload.exclude", func(w *webhook.Webhook) { w.Payload.Exclude = &[]string{path} })
	}
	cases.check(t)
}

func TestCheckNumbers(t *testing.T) {
	retries := func(n int) func(*webhook.Webhook) { return func(w *webhook.Webhook) { w.RetryCount = &n } }
	timeout := func(d time.Duration) func(*webhook.Webhook) { return func(w *webhook.Webhook) { w.Timeout = &d } }
	rules{
		"no retries":              {retries(0), ""},
		"most retries":            {retries(12), ""},
		"one retry too many":      {retries(13), "retry_count"},
		"less than no retries":    {retries(-1), "retry_count"},
		"a second":                {timeout(time.Second), ""},
		"30 seconds":              {timeout(30 * time.Second), ""},
		"31 seconds":              {timeout(31 * time.Second), "timeout_seconds"},
		"no time":                 {timeout(0), "timeout_seconds"},
		"a second and a half":     {timeout(1500 * time.Millisecond), "timeout_seconds"},
		"highest rate":            {func(w *webhook.Webhook) { w.RateLimit = 10_000 }, ""},
		"rate above":              {func(w *webhook.Webhook) { w.RateLimit = 10_001 }, "rate_limit"},
		"rate below 0":            {func(w *webhook.Webhook) { w.RateLimit = -1 }, "rate_limit"},
		"most in flight":          {func(w *webhook.Webhook) { w.MaxInFlight = 256 }, ""},
		"too much in flight":      {func(w *webhook.Webhook) { w.MaxInFlight = 257 }, "max_in_flight"},
		"less than 0 in flight":   {func(w *webhook.Webhook) { w.MaxInFlight = -1 }, "max_in_flight"},
		"both counts left to all": {func(w *webhook.Webhook) { w.RateLimit, w.MaxInFlight = 0, 0 }, ""},
	}.check(t)
}

func TestCheckDoesNotRepeatSecrets(t *testing.T) {
	w := webhook.Webhook{
		Headers:  []webhook.Header{{Name: "Authorization", Value: webhook.Plain([]byte("Bearer s3cret\n"))}},
		Metadata: map[string]string{"token": "s3cret" + letters(512)},
	}
	if text := w.Check().Error(); strings.Contains(text, "s3cret") || !strings.Contains(text, "headers[Authorization]") {
		t.Errorf("faults: %s", text)
	}
}
