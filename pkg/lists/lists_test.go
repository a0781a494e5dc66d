package lists_test

import (
	"encoding/json"
	"math"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/lists"
)

// things is a list with a field of every kind.
func things() lists.List {
	return lists.List{
		Name: "things", Sort: "-made_at,name", Shown: []string{"id", "name", "made_at", "more"},
		Fields: []lists.Field{
			{Name: "id", Kind: lists.ID}, {Name: "name", Kind: lists.Text, Sorts: true}, {Name: "size", Kind: lists.Number, Sorts: true},
			{Name: "on", Kind: lists.Bool, Sorts: true}, {Name: "made_at", Kind: lists.Time, Sorts: true}, {Name: "gone_at", Kind: lists.Time, Null: true},
			{Name: "colour", Kind: lists.Enum, Values: []string{"red", "blue"}}, {Name: "tags", Kind: lists.Members},
		},
		Apart: []lists.Apart{{Names: []string{"more"}, Why: "is elsewhere"}},
	}
}

func read(t *testing.T, l lists.List, query string) (lists.Query, error) {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return l.Read(values)
}

func TestRead(t *testing.T) {
	q, err := read(t, things(), "limit=3&sort=name,-size&filter[id]=0199C9A4-0000-7000-8000-00000000000A&filter[size][gte]=-4&filter[on]=true"+
		"&filter[made_at][lt]=1970-01-01T01:00:01%2B01:00&filter[gone_at]=null&filter[colour]=red,blue&filter[tags][contains]=a&total=true&show=name")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range q.Sort {
		got = append(got, o.Field.Name+map[bool]string{true: " down"}[o.Descending])
	}
	for _, c := range q.Filter {
		v, err := json.Marshal(c.Values)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Field.Name+" "+string(c.Op)+" "+string(v))
	}
	want := []string{
		"name", "size down", "id down", `colour in ["red","blue"]`, "gone_at eq null", `id eq ["0199c9a4-0000-7000-8000-00000000000a"]`,
		"made_at lt [1000000000]", "on eq [true]", "size gte [-4]", `tags contains ["a"]`,
	}
	if d := cmp.Diff(want, got); d != "" || q.Limit != 3 || !q.Total || !q.Fields.Has("id") || !q.Fields.Has("name") || q.Fields.Has("made_at") {
		t.Errorf("%+v (-want +got):\n%s", q, d)
	}
}

func TestReadWithoutAnything(t *testing.T) {
	q, err := read(t, things(), "other=1")
	if err != nil || q.Limit != lists.DefaultLimit || len(q.Sort) != 3 || !q.Sort[0].Descending || q.Sort[2].Field.Name != "id" || q.Total || !q.Fields.All() {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestReadRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"sort=more":                                           `sort: "more" is elsewhere, so this list is not sorted by it; there are name, size, on, made_at`,
		"sort=colour":                                         `sort: "colour" is not a field of this list; there are name, size, on, made_at`,
		"filter[more]=1":                                      `filter[more]: "more" is elsewhere, so this list is not filtered by it; there are id, name, size, on, made_at, gone_at, colour, tags`,
		"filter[gone_at][gt]=null":                            "filter[gone_at][gt]: must be an RFC 3339 time of 1970 to 2261, e.g. 2026-03-04T05:06:07Z; with eq and ne it may be null",
		"filter[size]=9223372036854775808":                    "filter[size]: must be a whole number",
		"filter[colour]=green":                                `filter[colour]: "green" is none of red, blue`,
		"filter[colour][ne]=red,blue":                         `filter[colour][ne]: "red,blue" is none of red, blue`,
		"filter[made_at]=2262-01-01T00:00:00Z":                "filter[made_at]: must be an RFC 3339 time of 1970 to 2261, e.g. 2026-03-04T05:06:07Z",
		"filter[made_at]=1970-01-01T00:00:00%2B01:00":         "filter[made_at]: must be an RFC 3339 time of 1970 to 2261, e.g. 2026-03-04T05:06:07Z",
		"filter[name]=" + strings.Repeat("é", 513):            "filter[name]: has more than 512 characters",
		"filter[name][in]=" + strings.Repeat("a,", 100) + "a": "filter[name][in]: has 101 values, the limit is 100",
		"filter[" + strings.Repeat("x", 99) + "]=1":           `filter[` + strings.Repeat("x", 57) + `...: "` + strings.Repeat("x", 64) + `..." is not a field of this list; there are id, name, size, on, made_at, gone_at, colour, tags`,
		"filter[name]=1&filter[name][eq]=2":                   "filter[name][eq]: is the same as filter[name], which is given too",
		"limit=0&hide=x&total=yes":                            `limit: must be a whole number from 1 to 500; total: must be true or false; hide: "x" is not a field of this; there are id, name, made_at, more`,
		"cursor=" + url.QueryEscape("made up"):                "cursor: is not a next_cursor of this list, in this order and with these filters",
	} {
		if _, err := read(t, things(), query); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

// Every value that a row can have comes back from a cursor as it was.
func TestCursorsKeepValues(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q, err := things().Read(url.Values{"sort": {"name,size,on,made_at"}})
		if err != nil {
			rt.Fatal(err)
		}
		row := []any{
			strings.ReplaceAll(rapid.String().Draw(rt, "name"), "\x00", ""), rapid.Int64().Draw(rt, "size"), rapid.Bool().Draw(rt, "on"),
			rapid.Int64Range(0, math.MaxInt64).Draw(rt, "made_at"), "0199c9a4-0000-7000-8000-00000000000a",
		}
		q, err = things().Read(url.Values{"sort": {"name,size,on,made_at"}, "cursor": {q.Next(row)}})
		if err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(row, q.After); d != "" {
			rt.Fatalf("(-want +got):\n%s", d)
		}
	})
}

// A cursor that somebody changed is refused, or is one of this list all the same: no value comes out that its
// field cannot have.
func FuzzCursor(f *testing.F) {
	q, err := things().Read(url.Values{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q.Next([]any{int64(5), "a", "0199c9a4-0000-7000-8000-00000000000a"}))
	f.Add(q.Next([]any{"x", "a", "b"}))
	f.Add(q.Next([]any{int64(5), "a"}))
	f.Add("e30")
	f.Fuzz(func(t *testing.T, cursor string) {
		q, err := things().Read(url.Values{"cursor": {cursor}})
		if err != nil || cursor == "" {
			return
		}
		if _, ok := q.After[0].(int64); !ok || len(q.After) != 3 {
			t.Errorf("%q: %v", cursor, q.After)
		}
		for _, v := range q.After[1:] {
			if s, ok := v.(string); !ok || strings.ContainsRune(s, 0) {
				t.Errorf("%q: %v", cursor, q.After)
			}
		}
	})
}

func TestPick(t *testing.T) {
	const row = `{ "id" : 1.0 , "name": {"name": [1, 2]},"made_at":null}`
	for query, want := range map[string]string{
		"show=name":         `{"id":1.0,"name":{"name": [1, 2]}}`,
		"hide=name,id":      `{"id":1.0,"made_at":null}`,
		"":                  row,
		"show=more":         `{"id":1.0}`,
		"show=id&hide=more": `{"id":1.0}`,
	} {
		q, err := read(t, things(), query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := q.Fields.Pick([]byte(row)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", query, got, err, want)
		}
		got, err := q.Fields.Pick([]byte("[" + row + "," + row + "]"))
		if both := "[" + want + "," + want + "]"; err != nil || string(got) != both {
			t.Errorf("%s of two: %s, %v, want %s", query, got, err, both)
		}
	}
	q, err := read(t, things(), "show=name")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{", `{"a"`, `[{"a":1}`, `[{"a":}]`} {
		if got, err := q.Fields.Pick([]byte(bad)); err == nil {
			t.Errorf("%s: %s", bad, got)
		}
	}
	if got, err := q.Fields.Pick([]byte("[]")); err != nil || string(got) != "[]" {
		t.Errorf("none: %s, %v", got, err)
	}
}
