package registry

import "testing"

func TestTextsAreKeptOnce(t *testing.T) {
	all := texts{}
	a, b, c := all.take([]byte(`{"a":1}`)), all.take([]byte(`{"a":1}`)), all.take([]byte(`{"c":1}`))
	if &a[0] != &b[0] || string(a) != `{"a":1}` || string(c) != `{"c":1}` {
		t.Errorf("%s, %s, %s", a, b, c)
	}
	if got := all.take(nil); got != nil || len(all) != 2 {
		t.Errorf("nothing is kept as %q: %d texts", got, len(all))
	}
	all.give(a)
	all.give(nil)
	if again := all.take([]byte(`{"a":1}`)); &again[0] != &a[0] {
		t.Error("one of two uses ended, and the text was dropped")
	}
	all.give(a)
	all.give(b)
	all.give(c)
	if len(all) != 0 {
		t.Errorf("%d texts are kept that nobody uses", len(all))
	}
}
