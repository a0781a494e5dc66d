package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const admin = `{"id":"a1","email":"admin@example.com","name":"Ad\u001bmin","language":"en","notices":["warning","gone"],"created_at":"2026-03-02T10:00:00Z"}`

// words are the words of each line.
func words(text string) (lines [][]string) {
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

func TestAdministratorsList(t *testing.T) {
	startAPI(t, map[string]string{
		"GET /api/v1/administrators?limit=500":           `{"data":[` + admin + `],"meta":{"next_cursor":"c2"}}`,
		"GET /api/v1/administrators?cursor=c2&limit=500": `{"data":[{"id":"a2","email":"ops@example.com","language":"fi","notices":[],"colour":"red"}],"meta":{}}`,
	})
	code, out, errs := run("", "administrators", "list")
	got := words(out)
	want := [][]string{
		{"ID", "E-MAIL", "NAME", "LANGUAGE", "NOTICES", "CREATED"},
		{"a1", "admin@example.com", "Ad", "min", "en", "warning,gone"},
		{"a2", "ops@example.com", "fi", "all"},
	}
	for i := range got {
		got[i] = got[i][:min(len(got[i]), 6)] // without the time, which is local
	}
	if diff := cmp.Diff(want, got); diff != "" || code != 0 || errs != "" {
		t.Errorf("exit code %d, err %q: %s", code, errs, diff)
	}
	var all []map[string]any
	code, out, _ = run("", "administrators", "list", "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all) != 2 || all[1]["colour"] != "red" {
		t.Errorf("exit code %d, out %s, %v", code, out, err)
	}
}

func TestAdministratorsChange(t *testing.T) {
	answer := `{"data":` + admin + `}`
	calls := startAPI(t, map[string]string{
		"POST /api/v1/administrators": answer, "PATCH /api/v1/administrators/a1": answer,
		"GET /api/v1/administrators/a1": answer, "DELETE /api/v1/administrators/a1": "",
	})
	for name, tt := range map[string]struct {
		args []string
		want call
		out  string
	}{
		"create": {[]string{"create", "--email", "admin@example.com"}, call{"POST /api/v1/administrators", `{"email":"admin@example.com"}`}, "notices   warning,gone"},
		"create with everything": {
			[]string{"create", "--email", "admin@example.com", "--name", "Admin", "--language", "fi", "--notices", "warning", "--notices", "gone,expiry"},
			call{"POST /api/v1/administrators", `{"email":"admin@example.com","language":"fi","name":"Admin","notices":["warning","gone","expiry"]}`}, "a1",
		},
		"told of everything": {[]string{"update", "a1", "--notices", "all"}, call{"PATCH /api/v1/administrators/a1", `{"notices":[]}`}, "a1"},
		"without a name":     {[]string{"update", "a1", "--name", ""}, call{"PATCH /api/v1/administrators/a1", `{"name":""}`}, "a1"},
		"get":                {[]string{"get", "a1"}, call{"GET /api/v1/administrators/a1", ""}, "e-mail    admin@example.com"},
		"get as JSON":        {[]string{"get", "a1", "-o", "json"}, call{"GET /api/v1/administrators/a1", ""}, `"email": "admin@example.com"`},
		"delete":             {[]string{"delete", "a1"}, call{"DELETE /api/v1/administrators/a1", ""}, "deleted a1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			*calls = nil
			code, out, errs := run("", append([]string{"administrators"}, tt.args...)...)
			if code != 0 || errs != "" || !strings.Contains(out, tt.out) || strings.Contains(out, "\x1b") {
				t.Errorf("exit code %d, out %q, err %q", code, out, errs)
			}
			if diff := cmp.Diff([]call{tt.want}, *calls); diff != "" {
				t.Error(diff)
			}
		})
	}
	*calls = nil
	for _, args := range [][]string{{"create", "--name", "Admin"}, {"update", "a1"}} {
		if code, _, errs := run("", append([]string{"administrators"}, args...)...); code != 2 || len(*calls) != 0 {
			t.Errorf("%v: exit code %d, want 2: %s", args, code, errs)
		}
	}
}

const mail = `{"id":"m1","kind":"warning","webhook_id":"w1","to":"admin@example.com","subject":"Webhook orders keeps failing",` +
	`"text":"250 attempts\u001b[2J failed.\r\n\r\nReactivate it.","result":"failed","error":"550 refused","mailed_at":"2026-03-02T10:00:00Z"}`

func TestMails(t *testing.T) {
	calls := startAPI(t, map[string]string{
		"GET /api/v1/mails?limit=50":                          `{"data":[` + mail + `],"meta":{}}`,
		"GET /api/v1/mails?filter%5Bwebhook_id%5D=w1&limit=1": `{"data":[` + mail + `],"meta":{"next_cursor":"c2"}}`,
		"GET /api/v1/mails?limit=500":                         `{"data":[` + mail + `],"meta":{"next_cursor":"c2"}}`,
		"GET /api/v1/mails?cursor=c2&limit=500":               `{"data":[` + mail + `],"meta":{}}`,
		"GET /api/v1/mails/m1":                                `{"data":` + mail + `}`,
	})
	code, out, errs := run("", "mails")
	got := words(out)
	want := []string{"m1", "warning", "admin@example.com", "failed", "Webhook", "orders", "keeps", "failing"}
	if code != 0 || errs != "" || len(got) != 2 || len(got[1]) < 3 || !cmp.Equal(append(got[1][:1], got[1][3:]...), want) {
		t.Errorf("exit code %d, err %q, out %s", code, errs, out)
	}
	if diff := cmp.Diff([]string{"ID", "WHEN", "KIND", "TO", "RESULT", "SUBJECT"}, got[0]); diff != "" {
		t.Error(diff)
	}
	if code, _, errs := run("", "mails", "--webhook", "w1", "--limit", "1"); code != 0 || !strings.Contains(errs, "there are more") {
		t.Errorf("exit code %d, err %q", code, errs)
	}
	var all []map[string]any
	code, out, _ = run("", "mails", "--all", "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all) != 2 || all[0]["error"] != "550 refused" {
		t.Errorf("exit code %d, out %s, %v", code, out, err)
	}
	code, out, errs = run("", "mails", "m1")
	if code != 0 || errs != "" || !strings.HasSuffix(out, "\n\n250 attempts [2J failed.\n\nReactivate it.\n") ||
		!strings.Contains(out, "error    550 refused\n") || !strings.Contains(out, "webhook  w1\n") {
		t.Errorf("exit code %d, err %q, out %q", code, errs, out)
	}
	var one map[string]any
	code, out, _ = run("", "mails", "m1", "-o", "json")
	if err := json.Unmarshal([]byte(out), &one); code != 0 || err != nil || one["result"] != "failed" {
		t.Errorf("exit code %d, out %s, %v", code, out, err)
	}
	*calls = nil
	for _, args := range [][]string{{"m1", "--webhook", "w1"}, {"--limit", "0"}} {
		if code, _, errs := run("", append([]string{"mails"}, args...)...); code != 2 || len(*calls) != 0 {
			t.Errorf("%v: exit code %d, want 2: %s", args, code, errs)
		}
	}
}
