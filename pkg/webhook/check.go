package webhook

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
)

// Limits of a webhook. Lengths are in characters, those of header values and excluded paths in bytes.
const (
	MaxURLLength         = 512
	MaxNameLength        = 150
	MaxDescriptionLength = 150
	MaxReferenceLength   = 256
	MaxEventTypes        = 200
	MaxFilters           = 16
	MaxFilterLength      = 256
	MaxConditionLength   = 2048
	MaxHeaders           = 20
	MaxHeaderValueLength = 1024
	MaxMetadata          = 32
	MaxMetadataLength    = 512
	MaxExcludePaths      = 64
	MaxExcludeLength     = 256
	MaxRetryCount        = 12
	MaxTimeout           = 30 * time.Second
	MaxRateLimit         = 10_000
	MaxMaxInFlight       = 256
)

// Check says everything that is wrong with w apart from where its URL leads (pkg/egress) and its
// condition (pkg/match). Fields are named as in the API. Values of headers that are sealed were checked
// before they were.
func (w Webhook) Check() invalid.Fields {
	var f invalid.Fields
	w.checkTexts(&f)
	w.checkTypes(&f)
	w.checkMaps(&f)
	w.checkHeaders(&f)
	f = append(f, w.Payload.Check()...)
	if w.RetryCount != nil && (*w.RetryCount < 0 || *w.RetryCount > MaxRetryCount) {
		f.Add("retry_count", "must be 0 to %d", MaxRetryCount)
	}
	if t := w.Timeout; t != nil && (*t < time.Second || *t > MaxTimeout || *t%time.Second != 0) {
		f.Add("timeout_seconds", "must be 1 to %d", int(MaxTimeout/time.Second))
	}
	if w.RateLimit < 0 || w.RateLimit > MaxRateLimit {
		f.Add("rate_limit", "must be 0 (no limit) to %d per second", MaxRateLimit)
	}
	if w.MaxInFlight < 0 || w.MaxInFlight > MaxMaxInFlight {
		f.Add("max_in_flight", "must be 0 (the default) to %d", MaxMaxInFlight)
	}
	return f
}

func (w Webhook) checkTexts(f *invalid.Fields) {
	for _, t := range []struct {
		name, value string
		limit       int
	}{
		{"url", w.URL, MaxURLLength},
		{"name", w.Name, MaxNameLength},
		{"description", w.Description, MaxDescriptionLength},
		{"condition", w.Condition, MaxConditionLength},
		{"external_reference", w.ExternalReference, MaxReferenceLength},
	} {
		if n := utf8.RuneCountInString(t.value); n > t.limit {
			f.Add(t.name, "has %d characters, the limit is %d", n, t.limit)
		} else if !utf8.ValidString(t.value) {
			f.Add(t.name, "is not UTF-8")
		}
	}
	if w.URL == "" {
		f.Add("url", "is required")
	}
}

func (w Webhook) checkTypes(f *invalid.Fields) {
	switch n := len(w.EventTypes); {
	case n == 0:
		f.Add("event_types", `needs at least one type, e.g. card.updated, card.* or *`)
	case n > MaxEventTypes:
		f.Add("event_types", "has %d entries, the limit is %d", n, MaxEventTypes)
	}
	seen := map[string]bool{}
	for _, t := range w.EventTypes {
		name := strings.TrimSuffix(t, ".*")
		if t != "*" && !event.ValidType(name) {
			f.Add("event_types", "%q is not a type, nor a type followed by .*", clip(t))
		}
		if seen[t] {
			f.Add("event_types", "%q stands twice", clip(t))
		}
		seen[t] = true
	}
}

func (w Webhook) checkMaps(f *invalid.Fields) {
	checkMap(f, "filters", w.Filters, MaxFilters, MaxFilterLength)
	checkMap(f, "metadata", w.Metadata, MaxMetadata, MaxMetadataLength)
}

func checkMap(f *invalid.Fields, name string, m map[string]string, entries, length int) {
	if n := len(m); n > entries {
		f.Add(name, "has %d entries, the limit is %d", n, entries)
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		switch {
		case k == "" || utf8.RuneCountInString(k) > 64:
			f.Add(name, "keys have 1 to 64 characters")
		case !utf8.ValidString(k):
			f.Add(name, "has a key that is not UTF-8")
		case utf8.RuneCountInString(m[k]) > length:
			f.Add(name+"["+k+"]", "has more than %d characters", length)
		case !utf8.ValidString(m[k]):
			f.Add(name+"["+k+"]", "is not UTF-8")
		}
	}
}

// reserved are the headers that Doorstep or HTTP itself sets, beside those with reservedPrefixes.
var reserved = []string{
	"Host", "Transfer-Encoding", "Connection", "Keep-Alive", "Te",
	"Trailer", "Upgrade", "Expect", "Proxy-Connection", "Proxy-Authorization", "User-Agent", "Accept-Encoding", "Traceparent", "Tracestate",
}

// reservedPrefixes: what says how the body is to be read, what is signed, and what Doorstep tells.
var reservedPrefixes = []string{"Content-", "Webhook-", "Doorstep-"}

// ReservedHeader reports whether a custom header may not have this name.
func ReservedHeader(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return slices.Contains(reserved, name) ||
		slices.ContainsFunc(reservedPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func (w Webhook) checkHeaders(f *invalid.Fields) {
	if n := len(w.Headers); n > MaxHeaders {
		f.Add("headers", "has %d entries, the limit is %d", n, MaxHeaders)
	}
	seen := map[string]bool{}
	for _, h := range w.Headers {
		name := "headers[" + clip(h.Name) + "]"
		switch canonical := http.CanonicalHeaderKey(h.Name); {
		case !httpguts.ValidHeaderFieldName(h.Name):
			f.Add(name, "is not a header name")
		case ReservedHeader(h.Name):
			f.Add(name, "is set by Doorstep or by HTTP and cannot be changed")
		case seen[canonical]:
			f.Add(name, "stands twice")
		default:
			seen[canonical] = true
			if h.Value.IsPlain() {
				checkHeaderValue(f, name, string(h.Value.Bytes))
			}
		}
	}
}

func checkHeaderValue(f *invalid.Fields, name, value string) {
	switch {
	case len(value) > MaxHeaderValueLength:
		f.Add(name, "has %d bytes, the limit is %d", len(value), MaxHeaderValueLength)
	case !httpguts.ValidHeaderFieldValue(value):
		f.Add(name, "has a value with control characters")
	case !utf8.ValidString(value):
		f.Add(name, "is not UTF-8")
	}
}

var pathPattern = regexp.MustCompile(`^[^.\s]+(\.[^.\s]+)*$`)

// Check says everything that is wrong with p, fields named payload.format and so on.
func (p Payload) Check() invalid.Fields {
	var f invalid.Fields
	switch p.Format {
	case "", FormatRaw, FormatStandard, FormatCloudEvents, FormatThin, FormatHook:
	default:
		f.Add("payload.format", "must be raw, standard, cloudevents, thin or hook")
	}
	if p.Exclude == nil {
		return f
	}
	if n := len(*p.Exclude); n > MaxExcludePaths {
		f.Add("payload.exclude", "has %d paths, the limit is %d", n, MaxExcludePaths)
	}
	for _, path := range *p.Exclude {
		if len(path) > MaxExcludeLength || !utf8.ValidString(path) || !pathPattern.MatchString(path) {
			f.Add("payload.exclude", "%q is not a path such as current.customer.email, at most %d bytes", clip(path), MaxExcludeLength)
		}
	}
	return f
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}
