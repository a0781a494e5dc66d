package obs

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// What customers and receivers wrote can stand in a log line, and is never more than a value in it: it neither ends the
// line nor begins another, and moves nobody's terminal.
func TestALineStaysALine(t *testing.T) {
	for name, evil := range map[string]string{
		"line breaks": "a\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\nb", "a terminal's escapes": "\x1b[2J\x1b]0;title\x07",
		"quotes": `","msg":"forged`, "other line breaks": "a\u2028b\u2029c", "no UTF-8": "\xff\xfe", "NUL": "a\x00b",
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := Logger(&out, "debug")
			if err != nil {
				t.Fatal(err)
			}
			log.With("webhook", evil).Warn("said", "error", errors.New(evil), evil, 1)
			if lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"); len(lines) != 1 || !json.Valid([]byte(lines[0])) {
				t.Fatalf("%d lines: %q", len(lines), lines)
			}
			if strings.ContainsAny(out.String()[:out.Len()-1], "\r\n\x1b\x00\x07\u2028\u2029") {
				t.Errorf("%q", out.String())
			}
			var line struct{ Msg, Level string }
			if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "said" || line.Level != "WARN" {
				t.Errorf("%+v %v", line, err)
			}
		})
	}
}
