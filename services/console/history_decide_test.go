package console

import (
	"net/url"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

func TestKeptFor(t *testing.T) {
	t.Parallel()
	for ms, want := range map[string]string{
		"604800000": "7 days", "86400000": "1 day", "129600000": "36 hours", "3600000": "1 hour", "90000": "90 seconds", "1500": "1.5s",
		"-1": "", "": "", "x": "",
	} {
		if got := keptFor(ms); got != want {
			t.Errorf("%s ms: %q, want %q", ms, got, want)
		}
	}
}

func TestBodyText(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ body, text, encoding string }{
		"nothing":                     {"", "", ""},
		"text":                        {"café", "café", ""},
		"cut within two bytes":        {"caf\xc3", "caf", ""},
		"cut within three bytes":      {"5 \xe2\x82", "5 ", ""},
		"cut within four bytes":       {"x\xf0\x9f\x98", "x", ""},
		"not UTF-8 at the end":        {"x\xff", "eP8=", "base64"},
		"not UTF-8 at the beginning":  {"\xffx", "/3g=", "base64"},
		"bytes that continue nothing": {"\x80\x80\x80\x80", "gICAgA==", "base64"},
	} {
		if text, encoding := bodyText([]byte(tt.body)); text != tt.text || encoding != tt.encoding {
			t.Errorf("%s: %q in %q, want %q in %q", name, text, encoding, tt.text, tt.encoding)
		}
	}
}

func TestLaneName(t *testing.T) {
	t.Parallel()
	topics, err := wire.NewTopics("p.", []time.Duration{time.Minute, 90 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]string{
		topics.Deliveries: "immediate", topics.Tiers[0].Topic: "1m", topics.Tiers[1].Topic: "90s",
		topics.Parked.Topic: "parked", topics.ParkedLong.Topic: "parked", "": "", "q.deliveries.1m": "q.deliveries.1m",
	} {
		if got := laneName(topic, topics); got != want {
			t.Errorf("%s: %q, want %q", topic, got, want)
		}
	}
}

func TestBetween(t *testing.T) {
	t.Parallel()
	at := func(nanos int) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, nanos, time.UTC) }
	text := func(nanos int) string { return at(nanos).Format(time.RFC3339Nano) }
	for name, tt := range map[string]struct {
		gte, gt, lte, lt string
		from, to         time.Time
	}{
		"not bounded": {},
		"inclusive":   {gte: text(5), lte: text(9), from: at(5), to: at(10)},
		"exclusive":   {gt: text(5), lt: text(9), from: at(6), to: at(9)},
		"the tighter": {gte: text(5), gt: text(4), lte: text(9), lt: text(12), from: at(5), to: at(10)},
		"the other":   {gte: text(5), gt: text(5), lte: text(9), lt: text(9), from: at(6), to: at(9)},
	} {
		values := url.Values{}
		for op, text := range map[string]string{"gte": tt.gte, "gt": tt.gt, "lte": tt.lte, "lt": tt.lt} {
			if text != "" {
				values.Set("filter[received_at]["+op+"]", text)
			}
		}
		q, err := eventList().Read(values)
		if f := eventFilter("acme", q); err != nil || !f.From.Equal(tt.from) || !f.To.Equal(tt.to) {
			t.Errorf("%s: %s to %s, %v", name, f.From, f.To, err)
		}
	}
}

func TestQueryFaults(t *testing.T) {
	t.Parallel()
	query, err := url.ParseQuery("limit=&cursor=&filter[b]=&filter[a]=x&filter[a]=y")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fault := range queryFaults(query) {
		got = append(got, fault.Error())
	}
	if len(got) != 2 || got[0] != "is given more than once (query.filter[a]: <nil>)" || got[1] != "needs a value (query.filter[b]: <nil>)" {
		t.Errorf("%q", got)
	}
}

func TestEncodeDetail(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{"": "null", "null": "null", `{ "a" : 1.0 }`: `{ "a" : 1.0 }`, `"data":null}`: ""} {
		got, err := encodeDetail(EventDetail{Event: Event{Type: `"data":null}`}, Data: []byte(data)}, Meta{RequestID: "r"}, lists.Fields{})
		if (err == nil) != (want != "") {
			t.Errorf("%q: %v", data, err)
		} else if end := `,"data":` + want + `},"meta":{"request_id":"r"}}` + "\n"; err == nil && string(got[len(got)-len(end):]) != end {
			t.Errorf("%q: %s", data, got)
		}
	}
}
