package obs

import (
	"bytes"
	"strings"
	"testing"
)

func TestLibrariesRepeatNothing(t *testing.T) {
	var out bytes.Buffer
	l, err := Logger(&out, "debug")
	if err != nil {
		t.Fatal(err)
	}
	w := libraryWriter(l)
	for _, line := range []string{
		`Unsolicited response received on idle HTTP channel starting with "Authorization: Bearer hidden-word"; err=<nil>` + "\n",
		"http: something\nhidden-word on a second line\n",
	} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines != 2 || strings.Contains(out.String(), "hidden-word") || !strings.Contains(out.String(), "Unsolicited response received on idle HTTP channel") {
		t.Errorf("%s", out.String())
	}
}
