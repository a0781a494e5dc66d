package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// line is a key as it is written; of one number it is always the same.
func line(id string, n byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32))
}

func parse(t testing.TB, text string) seal.Keys {
	t.Helper()
	keys, err := seal.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestParse(t *testing.T) {
	a, b := line("k1", 1), line("k2", 2)
	for name, tt := range map[string]struct {
		text string
		ids  []string
		err  string
	}{
		"one":                    {a, []string{"k1"}, ""},
		"by commas":              {a + "," + b, []string{"k1", "k2"}, ""},
		"by lines":               {a + "\r\n" + b + "\n", []string{"k1", "k2"}, ""},
		"both, blanks, comments": {"# keys\n\n , " + b + " , # the new one\n\t" + a + "#old\n", []string{"k2", "k1"}, ""},
		"all that an id may have": {line("a.b-c_9", 3) + "," + line(strings.Repeat("z", 32), 4),
			[]string{"a.b-c_9", strings.Repeat("z", 32)}, ""},

		"nothing":                 {"", nil, "there is no key"},
		"comments alone":          {"# " + a + "\n,\n", nil, "there is no key"},
		"no id":                   {"\n" + strings.TrimPrefix(a, "k1:"), nil, "line 2: must be ID:BASE64"},
		"empty id":                {strings.TrimPrefix(a, "k1"), nil, "line 1: the id must be"},
		"an id too long":          {line(strings.Repeat("z", 33), 1), nil, "line 1: the id must be"},
		"an id in capitals":       {a + "\n" + line("K2", 2), nil, "line 2: the id must be"},
		"an id with a space":      {line("k 1", 1), nil, "line 1: the id must be"},
		"the id of what is plain": {line("plain", 1), nil, "line 1: the id must be"},
		"an id twice":             {a + "\n#\n" + line("k1", 2), nil, "line 3: has the id of the key on line 1"},
		"a key twice":             {b + "\n" + a + "," + line("k3", 2), nil, "line 2: is the key on line 1 with another id"},
		"no key":                  {"k1:", nil, "line 1: what follows the id"},
		"31 bytes":                {"k1:" + base64.StdEncoding.EncodeToString(make([]byte, 31)), nil, "line 1: what follows the id"},
		"33 bytes":                {"k1:" + base64.StdEncoding.EncodeToString(make([]byte, 33)), nil, "line 1: what follows the id"},
		"no padding":              {strings.TrimRight(a, "="), nil, "line 1: what follows the id"},
		"hex":                     {"k1:" + strings.Repeat("ab", 32), nil, "line 1: what follows the id"},
		"bits that say nothing":   {a[:len(a)-2] + "F=", nil, "line 1: what follows the id"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := seal.Parse(tt.text)
			if tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("%v, want %q", err, tt.err)
			}
			if err == nil && (!slices.Equal(tt.ids, keys.IDs()) || keys.Current() != tt.ids[0]) {
				t.Errorf("keys %v, the one in force %s, want %v", keys.IDs(), keys.Current(), tt.ids)
			}
			if err == nil {
				if again := parse(t, keys.Text()); again.Text() != keys.Text() {
					t.Error("its text is read as something else")
				}
			}
		})
	}
}

func TestNew(t *testing.T) {
	keys, err := seal.New("k1", [32]byte(bytes.Repeat([]byte{1}, 32)))
	if err != nil || keys.Text() != line("k1", 1)+"\n" {
		t.Errorf("%v, %v", keys, err)
	}
	for _, id := range []string{"", "plain", "K", "a b", "a:b", "a,b", "a\n", strings.Repeat("a", 33)} {
		if _, err := seal.New(id, [32]byte{}); err == nil {
			t.Errorf("a key may be called %q", id)
		}
	}
}

func TestNoKey(t *testing.T) {
	var none seal.Keys
	s := none.Seal([12]byte{1}, []byte("secret"), "x")
	if s.KeyID != webhook.PlainKeyID || none.Current() != webhook.PlainKeyID || string(s.Bytes) != "secret" {
		t.Errorf("without a key: %s, %q", s.KeyID, s.Bytes)
	}
	for _, keys := range []seal.Keys{none, parse(t, line("k1", 1))} {
		if got, err := keys.Open(s, "anything"); err != nil || string(got) != "secret" {
			t.Errorf("plain: %q, %v", got, err)
		}
	}
	sealed := parse(t, line("k1", 1)).Seal([12]byte{1}, []byte("secret"), "x")
	if _, err := none.Open(sealed, "x"); !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), `"k1"`) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := none.Open(webhook.Sealed{}, "x"); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("nothing at all: %v", err)
	}
}

// What is stored must be readable by later versions: the shape, and what a secret is bound to.
func TestStoredForm(t *testing.T) {
	keys := parse(t, line("k1", 1))
	const stored = "02020202020202020202020274b3aa3b2f23c19e335fb9d3e03f09656f4d8f794387"
	nonce := [12]byte(bytes.Repeat([]byte{2}, 12))
	header := webhook.Header{Name: "X-Team", Value: keys.Seal(nonce, []byte("secret"), "webhook/w-1/header/X-Team")}
	if got := hex.EncodeToString(header.Value.Bytes); got != stored || header.Value.KeyID != "k1" {
		t.Errorf("a header is stored as %s, under %s", got, header.Value.KeyID)
	}
	if value, err := keys.OpenHeader("w-1", header); err != nil || value != "secret" {
		t.Errorf("a header: %q, %v", value, err)
	}
	key := webhook.SigningKey{Scheme: webhook.SchemeEd25519, Secret: keys.Seal(nonce, []byte("seed"), "webhook/w-1/signing-key/v1a")}
	if seed, err := keys.OpenSigningKey("w-1", key); err != nil || string(seed) != "seed" {
		t.Errorf("a signing key: %q, %v", seed, err)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret, of := rapid.SliceOf(rapid.Byte()).Draw(t, "secret"), rapid.String().Draw(t, "of")
		nonce := [12]byte(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "nonce"))
		old, both, turned := mustParse(line("k1", 1)), mustParse(line("k1", 1)+","+line("k2", 2)), mustParse(line("k2", 2)+","+line("k1", 1))
		for _, sealing := range []seal.Keys{old, both, turned} {
			s := sealing.Seal(nonce, secret, of)
			if s.KeyID != sealing.Current() || len(s.Bytes) != 12+len(secret)+16 {
				t.Fatalf("sealed with %s, %d bytes", s.KeyID, len(s.Bytes))
			}
			if len(secret) >= 4 && bytes.Contains(s.Bytes, secret) {
				t.Fatal("the secret stands in it")
			}
			for _, opening := range []seal.Keys{both, turned} {
				if got, err := opening.Open(s, of); err != nil || !bytes.Equal(got, secret) {
					t.Fatalf("opened: %x, %v", got, err)
				}
			}
		}
	})
}

// Nothing but what was sealed opens: for another use, with another key, shortened, lengthened, with one bit changed.
func TestOnlyTheSameOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := mustParse(line("k1", 1) + "," + line("k2", 2))
		secret, of := rapid.SliceOf(rapid.Byte()).Draw(t, "secret"), rapid.StringN(1, 40, -1).Draw(t, "of")
		s := keys.Seal([12]byte(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "nonce")), secret, of)
		other := rapid.StringN(0, 40, -1).Filter(func(x string) bool { return x != of }).Draw(t, "other use")
		cut := rapid.IntRange(0, len(s.Bytes)-1).Draw(t, "cut")
		bit := rapid.IntRange(0, 8*len(s.Bytes)-1).Draw(t, "bit")
		flipped := slices.Clone(s.Bytes)
		flipped[bit/8] ^= 1 << (bit % 8)
		for name, tt := range map[string]struct {
			keys seal.Keys
			s    webhook.Sealed
			of   string
			want error
		}{
			"another use":             {keys, s, other, seal.ErrDamaged},
			"cut":                     {keys, webhook.Sealed{KeyID: "k1", Bytes: s.Bytes[:cut]}, of, seal.ErrDamaged},
			"something behind":        {keys, webhook.Sealed{KeyID: "k1", Bytes: append(slices.Clone(s.Bytes), 0)}, of, seal.ErrDamaged},
			"a bit flipped":           {keys, webhook.Sealed{KeyID: "k1", Bytes: flipped}, of, seal.ErrDamaged},
			"another key of ours":     {keys, webhook.Sealed{KeyID: "k2", Bytes: s.Bytes}, of, seal.ErrDamaged},
			"another key of its name": {mustParse(line("k1", 9)), s, of, seal.ErrDamaged},
			"the key is gone":         {mustParse(line("k2", 2)), s, of, seal.ErrNoKey},
		} {
			got, err := tt.keys.Open(tt.s, tt.of)
			if !errors.Is(err, tt.want) || got != nil {
				t.Fatalf("%s: %x, %v, want %v", name, got, err, tt.want)
			}
			if !strings.Contains(err.Error(), `"`+tt.s.KeyID+`"`) {
				t.Fatalf("%s: %v does not name the key", name, err)
			}
		}
	})
}

func mustParse(text string) seal.Keys {
	keys, err := seal.Parse(text)
	if err != nil {
		panic(err)
	}
	return keys
}

func TestKeysHide(t *testing.T) {
	keys := parse(t, line("k1", 'A')+","+line("k2", 'B'))
	var shown []string
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(format, keys), fmt.Sprintf(format, &keys), fmt.Sprintf(format, []any{keys}))
	}
	inJSON, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keys", keys, "all", []seal.Keys{keys})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keys", keys, "all", []seal.Keys{keys})
	for _, text := range append(shown, string(inJSON), log.String()) {
		if !strings.Contains(text, "k1 k2") {
			t.Errorf("does not tell the ids: %s", text)
		}
		for _, n := range []byte{'A', 'B'} {
			raw := bytes.Repeat([]byte{n}, 32)
			for _, form := range []string{string(raw[:8]), base64.StdEncoding.EncodeToString(raw)[:8], hex.EncodeToString(raw)[:8], strings.Repeat(fmt.Sprint(n, " "), 4)} {
				if strings.Contains(text, form) {
					t.Errorf("shown: %s", text)
				}
			}
		}
	}
}

// sample is a webhook with secrets of every kind.
func sample() webhook.Webhook {
	return webhook.Webhook{
		ID: "w-1", Name: "Cards",
		Headers: []webhook.Header{{Name: "Authorization", Value: webhook.Plain([]byte("Bearer x"))}, {Name: "X-Empty", Value: webhook.Plain([]byte{})}},
		SigningKeys: []webhook.SigningKey{
			{Scheme: webhook.SchemeHMAC, Secret: webhook.Plain([]byte("now"))}, {Scheme: webhook.SchemeHMAC, Secret: webhook.Plain([]byte("before"))},
			{Scheme: webhook.SchemeEd25519, Secret: webhook.Plain([]byte("seed"))},
		},
	}
}

// counting gives another nonce each time.
func counting() func() [12]byte {
	n := byte(0)
	return func() [12]byte { n++; return [12]byte{n} }
}

// plain is what is secret of a webhook, or what cannot be read of it.
func plain(keys seal.Keys, w webhook.Webhook) (all []string) {
	for _, h := range w.Headers {
		value, err := keys.OpenHeader(w.ID, h)
		if err != nil {
			value = err.Error()
		}
		all = append(all, value)
	}
	for _, k := range w.SigningKeys {
		secret, err := keys.OpenSigningKey(w.ID, k)
		if err != nil {
			secret = []byte(err.Error())
		}
		all = append(all, string(secret))
	}
	return all
}

func TestWebhook(t *testing.T) {
	first, both := parse(t, line("k1", 1)), parse(t, line("k2", 2)+","+line("k1", 1))
	before, nonce := sample(), counting()
	want := plain(first, before)
	one, changed, err := first.Webhook(before, nonce)
	if !changed || err != nil || !cmp.Equal(sample(), before) {
		t.Fatalf("sealed: %t, %v; what was given has changed: %t", changed, err, !cmp.Equal(sample(), before))
	}
	two, changed, err := both.Webhook(one, nonce)
	if !changed || err != nil {
		t.Fatalf("sealed anew: %t, %v", changed, err)
	}
	for id, w := range map[string]webhook.Webhook{"k1": one, "k2": two} {
		if got := plain(both, w); !cmp.Equal(want, got) {
			t.Errorf("opened (-want +got):\n%s", cmp.Diff(want, got))
		}
		seen := map[string]bool{}
		for _, s := range []webhook.Sealed{w.Headers[0].Value, w.Headers[1].Value, w.SigningKeys[0].Secret, w.SigningKeys[1].Secret, w.SigningKeys[2].Secret} {
			if s.KeyID != id || seen[string(s.Bytes[:12])] {
				t.Errorf("sealed with %s, want %s; nonce used again: %t", s.KeyID, id, seen[string(s.Bytes[:12])])
			}
			seen[string(s.Bytes[:12])] = true
		}
	}
	if again, changed, err := both.Webhook(two, nonce); changed || err != nil || !cmp.Equal(two, again) {
		t.Errorf("sealed again: %t, %v", changed, err)
	}
}

// A secret that is moved to another webhook, header or scheme does not open there.
func TestMoved(t *testing.T) {
	keys := parse(t, line("k1", 1))
	w, _, err := keys.Webhook(sample(), counting())
	if err != nil {
		t.Fatal(err)
	}
	header, key := w.Headers[0], w.SigningKeys[0]
	other, scheme := header, key
	other.Name, scheme.Scheme = "X-Other", webhook.SchemeEd25519
	for name, open := range map[string]func() error{
		"header of another webhook": func() error { _, err := keys.OpenHeader("w-2", header); return err },
		"another header":            func() error { _, err := keys.OpenHeader("w-1", other); return err },
		"key of another webhook":    func() error { _, err := keys.OpenSigningKey("w-2", key); return err },
		"another scheme":            func() error { _, err := keys.OpenSigningKey("w-1", scheme); return err },
		"a key as a header": func() error {
			_, err := keys.OpenHeader("w-1", webhook.Header{Name: "Authorization", Value: key.Secret})
			return err
		},
		"a header as a key": func() error {
			_, err := keys.OpenSigningKey("w-1", webhook.SigningKey{Scheme: webhook.SchemeHMAC, Secret: header.Value})
			return err
		},
	} {
		if err := open(); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What cannot be read stays as it is, beside what can.
func TestWebhookUnreadable(t *testing.T) {
	lost, here := parse(t, line("lost", 1)), parse(t, line("k2", 2))
	w, _, err := lost.Webhook(sample(), counting())
	if err != nil {
		t.Fatal(err)
	}
	w.Headers[0].Value = webhook.Plain([]byte("given anew"))
	got, changed, err := here.Webhook(w, counting())
	if !changed || !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), "header X-Empty") || !strings.Contains(err.Error(), "signing key v1a") {
		t.Fatalf("%t, %v", changed, err)
	}
	if value, err := here.OpenHeader("w-1", got.Headers[0]); err != nil || value != "given anew" || got.Headers[0].Value.KeyID != "k2" {
		t.Errorf("what can be read: %q, %v", value, err)
	}
	w.Headers[0] = got.Headers[0]
	if !cmp.Equal(w, got) {
		t.Errorf("what cannot be read has changed:\n%s", cmp.Diff(w, got))
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "k1:", line("k1", 1), line("k1", 1) + "," + line("k2", 2), "# x\n" + line("plain", 1), "a:b:c", "\xff:\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := seal.Parse(text)
		if err != nil {
			for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" ,:\n\r\t", r) }) {
				if len(word) >= 24 && strings.Contains(err.Error(), word) {
					t.Fatalf("the error repeats what was given: %v", err)
				}
			}
			return
		}
		again, err := seal.Parse(keys.Text())
		if err != nil || again.Text() != keys.Text() || len(keys.IDs()) == 0 || keys.Current() == webhook.PlainKeyID {
			t.Fatalf("%v is read again as %v, %v", keys, again, err)
		}
	})
}

// FuzzOpen looks for bytes, or a use, that open and were not sealed so.
func FuzzOpen(f *testing.F) {
	keys := mustParse(line("k1", 1))
	sealed := keys.Seal([12]byte{7}, []byte("secret"), "use")
	f.Add("k1", sealed.Bytes, "use")
	f.Add("k1", sealed.Bytes[:20], "use")
	f.Add("k1", []byte{}, "")
	f.Add("k2", sealed.Bytes, "use")
	f.Add("plain", []byte("secret"), "")
	f.Fuzz(func(t *testing.T, id string, b []byte, of string) {
		got, err := keys.Open(webhook.Sealed{KeyID: id, Bytes: b}, of)
		switch genuine := bytes.Equal(b, sealed.Bytes) && of == "use"; {
		case id == webhook.PlainKeyID:
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("plain: %v", err)
			}
		case id != "k1":
			if !errors.Is(err, seal.ErrNoKey) {
				t.Fatalf("key %q: %v", id, err)
			}
		case genuine:
			if err != nil || string(got) != "secret" {
				t.Fatalf("genuine: %q, %v", got, err)
			}
		default:
			if !errors.Is(err, seal.ErrDamaged) || got != nil {
				t.Fatalf("opened: %q, %v", got, err)
			}
		}
	})
}
