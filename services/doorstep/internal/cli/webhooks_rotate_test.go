package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWebhooksRotate(t *testing.T) {
	const path = "POST /api/v1/webhooks/w1/rotate-secret"
	calls := startAPI(t, map[string]string{path: `{"data":{"id":"w1","active":true,"can_send":true,"secret":"whsec_new","public_key":"whpk_new","updated_at":"2026-03-02T10:00:00Z"}}`})
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("whsec_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	until := func(overlap time.Duration) string {
		return time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC).Add(overlap).Local().Format(time.DateTime)
	}
	for name, tt := range map[string]struct {
		stdin string
		args  []string
		body  string
		out   string
	}{
		"as it comes": {"", nil, `{"overlap_seconds":86400,"scheme":"v1"}`,
			"The former secret signs too until " + until(24*time.Hour) + ": give the receiver the new secret before.\n"},
		"at once": {"", []string{"--overlap", "0s"}, `{"overlap_seconds":0,"scheme":"v1"}`,
			"No former secret signs any more: the receiver needs the new secret now.\n"},
		"the pair": {"", []string{"--scheme", "v1a", "--overlap", "90m"}, `{"overlap_seconds":5400,"scheme":"v1a"}`,
			"A former key pair signs too until " + until(90*time.Minute) + ": give the receiver the new public key before.\n"},
		"from a file":  {"", []string{"--secret-file", file}, `{"overlap_seconds":86400,"scheme":"v1","secret":"whsec_file"}`, "whsec_new"},
		"from stdin":   {" whsec_stdin\r\n", []string{"--secret-file", "-"}, `{"overlap_seconds":86400,"scheme":"v1","secret":"whsec_stdin"}`, "whpk_new"},
		"to a program": {"", []string{"-o", "json"}, `{"overlap_seconds":86400,"scheme":"v1"}`, "\"updated_at\": \"2026-03-02T10:00:00Z\"\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			*calls = nil
			code, out, errs := run(tt.stdin, append([]string{"webhooks", "rotate-secret", "w1"}, tt.args...)...)
			if code != 0 || errs != "" || !strings.Contains(out, tt.out) || !strings.Contains(out, "whsec_new") {
				t.Errorf("exit code %d, out %q, err %q", code, out, errs)
			}
			if diff := cmp.Diff([]call{{path, tt.body}}, *calls); diff != "" {
				t.Error(diff)
			}
		})
	}
	*calls = nil
	for name, tt := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"no secret":      {"\n", []string{"--secret-file", "-"}, "--secret-file -: holds no secret"},
		"half a second":  {"", []string{"--overlap", "1.5s"}, "--overlap 1.5s: want whole seconds, up to 168h"},
		"over a week":    {"", []string{"--overlap", "168h1s"}, "--overlap 168h0m1s: want whole seconds, up to 168h"},
		"before now":     {"", []string{"--overlap=-1s"}, "--overlap -1s: want whole seconds, up to 168h"},
		"another scheme": {"", []string{"--scheme", "v2"}, `--scheme must be one of "v1","v1a"`},
	} {
		code, out, errs := run(tt.stdin, append([]string{"webhooks", "rotate-secret", "w1"}, tt.args...)...)
		if code != 2 || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: exit code %d, out %q, err %q", name, code, out, errs)
		}
	}
	if code, _, errs := run("", "webhooks", "rotate-secret", "w1", "--secret-file", file+"x"); code != 1 || !strings.Contains(errs, "secretx") {
		t.Errorf("a file that is not there: exit code %d, err %q", code, errs)
	}
	if len(*calls) > 0 {
		t.Errorf("the API was asked: %s", fmt.Sprint(*calls))
	}
}
