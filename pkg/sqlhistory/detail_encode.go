package sqlhistory

import (
	"encoding/base64"
	"strconv"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// encodeDetail is an attempt's column detail: the JSON of a detail, as encoding/json writes it, which takes five
// times as long. rows_test.go holds it against that.
func encodeDetail(a *history.Attempt) string {
	o := &a.Outcome
	e := object{b: append(make([]byte, 0, 1024), '{')}
	e.text("cause", string(a.Cause))
	e.text("event_type", a.EventType)
	if a.WebhookGeneration != 0 {
		e.b = strconv.AppendUint(e.name("webhook_generation"), a.WebhookGeneration, 10)
	}
	e.text("lane", a.Lane)
	e.number("due_at", sqldb.Nanos(a.DueAt))
	e.number("next_attempt_at", sqldb.Nanos(a.NextAttemptAt))
	e.position(a.Position)
	e.text("instance", a.Instance)
	e.number("count", int64(a.Count))
	e.text("trace_context", a.TraceContext)
	e.text("url", o.URL)
	e.text("remote_address", o.RemoteAddress)
	e.text("error", o.Error)
	e.number("retry_after", int64(o.RetryAfter))
	e.headers("request_headers", o.RequestHeaders)
	e.headers("response_headers", o.ResponseHeaders)
	if len(o.ResponseBody) > 0 {
		e.b = append(base64.StdEncoding.AppendEncode(append(e.name("response_body"), '"'), o.ResponseBody), '"')
	}
	e.phases(o.Phases)
	return string(append(e.b, '}'))
}

// object appends the members of a JSON object that is open; those that are zero are left out.
type object struct{ b []byte }

// name begins a member and returns what its value is appended to.
func (o *object) name(name string) []byte {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	return append(append(append(o.b, '"'), name...), '"', ':')
}

func (o *object) text(name, value string) {
	if value != "" {
		o.b = appendText(o.name(name), value)
	}
}

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.b = strconv.AppendInt(o.name(name), n, 10)
	}
}

func (o *object) position(p delivery.Position) {
	if p == (delivery.Position{}) {
		return
	}
	b := appendText(append(o.name("position"), `{"topic":`...), p.Topic)
	b = strconv.AppendInt(append(b, `,"partition":`...), int64(p.Partition), 10)
	o.b = append(strconv.AppendInt(append(b, `,"offset":`...), p.Offset, 10), '}')
}

func (o *object) headers(name string, list []delivery.Header) {
	if len(list) == 0 {
		return
	}
	o.b = append(o.name(name), '[')
	for i, h := range list {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = append(appendText(append(o.b, '['), h.Name), ',')
		o.b = append(appendText(o.b, h.Value), ']')
	}
	o.b = append(o.b, ']')
}

func (o *object) phases(p delivery.Phases) {
	if p == (delivery.Phases{}) {
		return
	}
	o.b = append(o.name("phases"), '{')
	o.number("dns", int64(p.DNS))
	o.number("connect", int64(p.Connect))
	o.number("tls", int64(p.TLS))
	o.number("first_byte", int64(p.FirstByte))
	o.number("total", int64(p.Total))
	if p.Reused {
		o.b = append(o.name("reused"), "true"...)
	}
	o.b = append(o.b, '}')
}

// appendText appends a JSON text; what is not plain ASCII is left to encoding/json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return append(b, sqldb.AsJSON(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
