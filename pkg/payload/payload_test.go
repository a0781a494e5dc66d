package payload_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/payload"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

var update = flag.Bool("update", false, "write the golden files")

// sample is a file of testdata: an event as its product would publish it, and the options that
// go beyond the four formats.
type sample struct {
	Type              string            `json:"type"`
	ExternalReference string            `json:"external_reference"`
	Attributes        map[string]string `json:"attributes"`
	Exclude           []string          `json:"exclude"`
	Stringify         bool              `json:"stringify"`
	Data              json.RawMessage   `json:"data"`
}

func (s sample) event() event.Record {
	return event.Record{Event: event.Event{
		ID: "0195a1b2-0000-7000-8000-000000000001", Tenant: "acme", Type: s.Type,
		OccurredAt: time.Date(2026, 3, 2, 7, 41, 9, 500e6, time.FixedZone("CET", 3600)), ExternalReference: s.ExternalReference,
		Attributes: s.Attributes, Data: s.Data,
	}}
}

func TestProfiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("samples: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s sample
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			got := bodies(t, s)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// bodies is what every kind of options makes of a sample.
func bodies(t *testing.T, s sample) string {
	t.Helper()
	var out strings.Builder
	for _, o := range []struct {
		name    string
		options webhook.Payload
	}{
		{"raw", webhook.Payload{}},
		{"standard", webhook.Payload{Format: webhook.FormatStandard}},
		{"cloudevents", webhook.Payload{Format: webhook.FormatCloudEvents}},
		{"thin", webhook.Payload{Format: webhook.FormatThin}},
		{"hook", webhook.Payload{Format: webhook.FormatHook, Stringify: new(true)}},
		{"the sample's own", webhook.Payload{Exclude: &s.Exclude, Stringify: &s.Stringify}},
		{"the sample's own, standard", webhook.Payload{Format: webhook.FormatStandard, Exclude: &s.Exclude, Stringify: &s.Stringify}},
	} {
		body, err := payload.Build(s.event(), o.options)
		if err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
		if !json.Valid(body.Bytes) {
			t.Errorf("%s: not JSON: %s", o.name, body.Bytes)
		}
		fmt.Fprintf(&out, "== %s (%s)\n%s\n", o.name, body.ContentType, body.Bytes)
	}
	return out.String()
}

func TestExcludeAndStringify(t *testing.T) {
	for name, tt := range map[string]struct {
		data      string
		exclude   []string
		stringify bool
		want      string
	}{
		"nothing to do keeps every byte": {" { \"b\" : 1.0 }\n", nil, false, " { \"b\" : 1.0 }\n"},
		"order and numbers stay":         {`{"z":1.00,"a":1e3,"m":{"k":-0},"n":9007199254740993}`, []string{"m"}, false, `{"z":1.00,"a":1e3,"n":9007199254740993}`},
		"first":                          {`{"a":1,"b":2}`, []string{"a"}, false, `{"b":2}`},
		"last":                           {`{"a":1,"b":2}`, []string{"b"}, false, `{"a":1}`},
		"all":                            {`{"a":1,"b":[{"c":1}]}`, []string{"a", "b"}, false, `{}`},
		"nested":                         {`{"a":{"b":{"c":1,"d":2}},"c":3}`, []string{"a.b.c"}, false, `{"a":{"b":{"d":2}},"c":3}`},
		"through arrays":                 {`{"r":[{"p":1,"q":2},[{"p":3}],4]}`, []string{"r.p"}, false, `{"r":[{"q":2},[{}],4]}`},
		"data that is an array":          {`[{"p":1},{"q":2}]`, []string{"p"}, false, `[{},{"q":2}]`},
		"twice the same name":            {`{"a":1,"b":2,"a":3}`, []string{"a"}, false, `{"b":2}`},
		"a name spelled otherwise":       {`{"\u0061":1,"b":2}`, []string{"a"}, false, `{"b":2}`},
		"a backslash is not an escape":   {`{"a\nb":1}`, []string{`a\nb`}, false, `{"a\nb":1}`},
		"a path and one around it":       {`{"a":{"b":1,"c":2},"d":3}`, []string{"a.b", "a"}, false, `{"d":3}`},
		"one around it first":            {`{"a":{"b":1,"c":2},"d":3}`, []string{"a", "a.b"}, false, `{"d":3}`},
		"a path that goes on too far":    {`{"a":1}`, []string{"a.b"}, false, `{"a":1}`},
		"no such field":                  {`{ "a": [ ] , "b": "x\"," }`, []string{"z"}, false, `{"a":[],"b":"x\","}`},
		"every scalar a string":          {`{"n":12.50,"t":true,"f":false,"o":null,"s":"x","l":[1,[null]],"e":{}}`, nil, true, `{"n":"12.50","t":"true","f":"false","o":"","s":"x","l":["1",[""]],"e":{}}`},
		"both":                           {`{"a":1,"b":2}`, []string{"a"}, true, `{"b":"2"}`},
		"a lone number":                  {` 5 `, nil, true, `"5"`},
		"no data":                        {"", nil, true, "null"},
		"null":                           {" null", nil, true, "null"},
		"all of it":                      {`{"a":1}`, []string{"a", "*"}, false, "null"},
		"all of what is no object":       {`[1]`, []string{"*"}, true, "null"},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := payload.Build(event.Record{Event: event.Event{Data: []byte(tt.data)}},
				webhook.Payload{Exclude: &tt.exclude, Stringify: &tt.stringify})
			if err != nil {
				t.Fatal(err)
			}
			if string(body.Bytes) != tt.want {
				t.Errorf("got %s, want %s", body.Bytes, tt.want)
			}
		})
	}
}

// TestHook: the bodies are those that PlanMill shows its customers, byte for byte but for spaces.
func TestHook(t *testing.T) {
	all := webhook.Payload{Format: webhook.FormatHook, Exclude: &[]string{webhook.ExcludeAll}}
	for name, tt := range map[string]struct {
		event   event.Event
		options webhook.Payload
		want    string
	}{
		"PlanMill's sample": {
			event.Event{Type: "account.update", ExternalReference: "1104", Attributes: map[string]string{"eventUser": "50"}, Data: []byte(`{"name":"x"}`)},
			all, `{"hook":"account.update","eventUser":50,"Id":1104}`,
		},
		"with its payload, all fields strings": {
			event.Event{
				Type: "timereport.update", ExternalReference: "7", Attributes: map[string]string{"eventUser": "545", "eventProject": "66"},
				Data: []byte(`{"amount": 7.50, "billable": true, "task": null}`),
			},
			webhook.Payload{Format: webhook.FormatHook, Stringify: new(true)},
			`{"hook":"timereport.update","eventProject":66,"eventUser":545,"Id":7,"payload":{"amount":"7.50","billable":"true","task":""}}`,
		},
		"fields excluded": {
			event.Event{Type: "task.update", ExternalReference: "7", Data: []byte(`{"name":"x","price":3}`)},
			webhook.Payload{Format: webhook.FormatHook, Exclude: &[]string{"price"}}, `{"hook":"task.update","Id":7,"payload":{"name":"x"}}`,
		},
		"a deletion without data": {event.Event{Type: "team.delete", ExternalReference: "7"}, webhook.Payload{Format: webhook.FormatHook}, `{"hook":"team.delete","Id":7}`},
		"ids that are texts": {
			event.Event{Type: "a", ExternalReference: "007", Attributes: map[string]string{"b": "1e3", "c": "-0", "d": "-5", "e": "1234567890123456", "f": ""}},
			all, `{"hook":"a","b":"1e3","c":"-0","d":-5,"e":"1234567890123456","f":"","Id":"007"}`,
		},
		"names that would stand twice, or need escapes": {
			event.Event{Type: "a", Attributes: map[string]string{"hook": "x", "Id": "1", "payload": "2", `q"`: "3"}},
			all, `{"hook":"a","q\"":3}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := payload.Build(event.Record{Event: tt.event}, tt.options)
			if err != nil || string(body.Bytes) != tt.want || !json.Valid(body.Bytes) || body.ContentType != payload.ContentTypeJSON {
				t.Errorf("%s, %v\nwant %s", body.Bytes, err, tt.want)
			}
		})
	}
}

func TestBuildErrs(t *testing.T) {
	e := event.Record{Event: event.Event{ID: "e1", Data: []byte(`{"secret`)}}
	yes := true
	for name, options := range map[string]webhook.Payload{
		"data that is not JSON": {Stringify: &yes},
		"a format not known":    {Format: "xml"},
	} {
		_, err := payload.Build(e, options)
		if err == nil || !strings.Contains(err.Error(), "e1") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want an error that names the event and not its data", name, err)
		}
	}
}

func TestTimestampFallsBackToReceipt(t *testing.T) {
	e := event.Record{ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	body, err := payload.Build(e, webhook.Payload{Format: webhook.FormatStandard})
	if err != nil || !bytes.Contains(body.Bytes, []byte(`"timestamp":"2026-01-02T03:04:05Z"`)) {
		t.Errorf("%s, %v", body.Bytes, err)
	}
}

func TestBuilderSharesBodies(t *testing.T) {
	data := []byte(`{"a":1,"b":2}`)
	b := payload.NewBuilder(event.Record{Event: event.Event{Data: data}})
	yes, a1, a2 := true, []string{"a"}, []string{"a"}
	for name, pair := range map[string][2]webhook.Payload{
		"raw":       {{}, {}},
		"standard":  {{Format: webhook.FormatStandard}, {Format: webhook.FormatStandard}},
		"stringify": {{Stringify: &yes}, {Stringify: &yes}},
		"exclude":   {{Exclude: &a1}, {Exclude: &a2}},
	} {
		first, err1 := b.Build(pair[0])
		second, err2 := b.Build(pair[1])
		if err1 != nil || err2 != nil || &first.Bytes[0] != &second.Bytes[0] {
			t.Errorf("%s: two bodies for equal options (%v, %v)", name, err1, err2)
		}
		if alone, _ := payload.Build(event.Record{Event: event.Event{Data: data}}, pair[0]); !bytes.Equal(alone.Bytes, first.Bytes) {
			t.Errorf("%s: the builder gives %s, Build %s", name, first.Bytes, alone.Bytes)
		}
	}
}

func FuzzBuild(f *testing.F) {
	f.Add([]byte(`{"a":[1,null,{"b":"c"}],"b":true}`), "a.b")
	f.Add([]byte(" [1e9 , \"\\\"\"] "), "x")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		e := event.Record{Event: event.Event{ID: "e", Tenant: "t", Type: "a.b", Data: data}}
		raw, err := payload.Build(e, webhook.Payload{})
		if err != nil || (len(data) > 0 && !bytes.Equal(raw.Bytes, data)) {
			t.Fatalf("raw is not the data: %q, %v", raw.Bytes, err)
		}
		yes, exclude := true, []string{path}
		valid := len(data) == 0 || json.Valid(data)
		for _, options := range []webhook.Payload{
			{Exclude: &exclude}, {Stringify: &yes}, {Exclude: &exclude, Stringify: &yes},
			{Format: webhook.FormatStandard, Exclude: &exclude}, {Format: webhook.FormatCloudEvents, Stringify: &yes},
			{Format: webhook.FormatHook, Exclude: &exclude},
		} {
			body, err := payload.Build(e, options)
			if (err == nil) != valid {
				t.Fatalf("valid JSON: %v, but %v", valid, err)
			}
			if valid && !json.Valid(body.Bytes) {
				t.Fatalf("%q became %q", data, body.Bytes)
			}
		}
		if valid {
			checkNames(t, data, e, path)
		}
	})
}

// checkNames compares exclude of one name with the same done on decoded JSON.
func checkNames(t *testing.T, data []byte, e event.Record, path string) {
	t.Helper()
	var decoded map[string]any
	if strings.Contains(path, ".") || path == webhook.ExcludeAll || json.Unmarshal(data, &decoded) != nil || decoded == nil {
		return
	}
	if !utf8.Valid(data) || !utf8.ValidString(path) {
		return // decoding replaces what is not UTF-8, we leave it
	}
	delete(decoded, path)
	exclude := []string{path}
	body, err := payload.Build(e, webhook.Payload{Exclude: &exclude})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body.Bytes, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decoded, got); diff != "" {
		t.Errorf("exclude %q of %q (-want +got):\n%s", path, data, diff)
	}
}
