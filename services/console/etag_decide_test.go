package console

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseTags(t *testing.T) {
	for text, want := range map[string]struct {
		n, weak int
		all     bool
	}{
		`*`:                         {0, 0, true},
		` * `:                       {0, 0, true},
		`"1.ab"`:                    {1, 0, false},
		`"1.ab", W/"2.c,d" ,"","x"`: {4, 1, false},
		`,, "a" ,`:                  {1, 0, false},
		``:                          {},
		`1.ab`:                      {},
		`"1.ab`:                     {},
		`"a""b"`:                    {},
		`w/"a"`:                     {},
		`"a", *`:                    {},
		`W/`:                        {},
	} {
		tags, all, err := parseTags("If-Match", []string{text})
		weak := 0
		for _, x := range tags {
			if x.weak {
				weak++
			}
		}
		if len(tags) != want.n || weak != want.weak || all != want.all || (err == nil) != (want.n > 0 || want.all) {
			t.Errorf("%s: %v, %t, %v", text, tags, all, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		version, shown := rapid.Uint64().Draw(t, "version"), rapid.String().Draw(t, "shown")
		d, err := demanded([]string{tagOf(version, shown)})
		if err != nil || !d.given || len(d.versions) != 1 {
			t.Fatalf("our own tag is read as %+v, %v", d, err)
		}
		_, _, _ = parseTags("x", []string{rapid.String().Draw(t, "anything")})
	})
}
