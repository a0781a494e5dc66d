package console

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

func TestTheTypeOfATest(t *testing.T) {
	example := []byte(`{"id":1}`)
	known := []tenant.EventType{{Type: "board.made"}, {Type: "card.made"}, {Type: "card.moved", Example: example}, {Type: "cardinal.made", Example: example}}
	for _, tt := range []struct {
		patterns []string
		want     string
	}{
		{[]string{"card.*"}, "card.moved"},
		{[]string{"board.*", "card.*"}, "card.moved"},
		{[]string{"board.*"}, "board.made"},
		{[]string{"board.made", "user.*"}, "board.made"},
		{[]string{"*"}, "card.moved"},
		{[]string{"user.*"}, "user.test"},
		{[]string{"user.left", "user.*"}, "user.left"},
	} {
		if got := testType(tt.patterns, known); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.patterns, got, tt.want)
		}
	}
	if got := testType([]string{"*"}, nil); got != "doorstep.test" {
		t.Errorf("without a catalogue: %s", got)
	}
	if got := string(exampleOf("card.moved", known)); got != `{"id":1}` {
		t.Error(got)
	}
}
