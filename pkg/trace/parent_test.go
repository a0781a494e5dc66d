package trace_test

import (
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/trace"
)

const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestParent(t *testing.T) {
	for _, header := range []string{good, good[:53] + "00", good[:53] + "ff"} {
		if trace.Parent(header) != header {
			t.Errorf("%q is refused", header)
		}
	}
	for name, header := range map[string]string{
		"nothing": "", "a word": "x", "a key": "dsk_secret", "more behind": good + "-x", "a space before": " " + good,
		"capitals": strings.ToUpper(good), "capital flags": good[:53] + "0A", "another version": "01" + good[2:], "too short": good[:54],
		"no hex": "00-" + strings.Repeat("z", 32) + "-b7ad6b7169203331-01", "no trace": "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01",
		"no span": "00-0af7651916cd43dd8448eb211c80319c-" + strings.Repeat("0", 16) + "-01", "other dashes": strings.ReplaceAll(good, "-", "_"),
		"a line": good[:54] + "\n", "long": strings.Repeat("0", 8<<10),
	} {
		if got := trace.Parent(header); got != "" {
			t.Errorf("%s: %q is taken", name, got)
		}
	}
}

func TestID(t *testing.T) {
	if got := trace.ID(good); got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("id %q", got)
	}
	if got := trace.ID(""); got != "" {
		t.Errorf("id of nothing: %q", got)
	}
}

func TestUnsampled(t *testing.T) {
	for flags, want := range map[string]string{"01": "00", "00": "00", "03": "02", "02": "02"} { // 02: the trace id is random
		if got := trace.Unsampled(good[:53] + flags); got != good[:53]+want {
			t.Errorf("%s became %q", flags, got)
		}
	}
	for _, none := range []string{"", "x", strings.Repeat("z", len(good))} {
		if got := trace.Unsampled(none); got != none {
			t.Errorf("%q became %q", none, got)
		}
	}
}
