package console

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// numbered is the n-th key of a test.
func numbered(t testing.TB, scheme webhook.Scheme, n byte) webhook.SigningKey {
	t.Helper()
	random := [32]byte{n}
	if scheme == webhook.SchemeEd25519 {
		return keyPairOf(random)
	}
	k, err := signingKey("", random)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRotated(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	in := func(hours int) time.Time { return now.Add(time.Duration(hours) * time.Hour) }
	hmac := func(n byte, end time.Time) webhook.SigningKey {
		k := numbered(t, webhook.SchemeHMAC, n)
		k.ExpiresAt = end
		return k
	}
	pair := func(n byte, end time.Time) webhook.SigningKey {
		k := numbered(t, webhook.SchemeEd25519, n)
		k.ExpiresAt = end
		return k
	}
	never := time.Time{}
	type keys []webhook.SigningKey
	for name, tt := range map[string]struct {
		had     keys
		by      webhook.SigningKey
		overlap time.Duration
		want    keys
	}{
		"the former one signs a day more":      {keys{hmac(1, never)}, hmac(2, never), 24 * time.Hour, keys{hmac(2, never), hmac(1, in(24))}},
		"no overlap":                           {keys{hmac(1, never)}, hmac(2, never), 0, keys{hmac(2, never)}},
		"no overlap ends older ones too":       {keys{hmac(2, never), hmac(1, in(9))}, hmac(3, never), 0, keys{hmac(3, never)}},
		"an earlier end stays":                 {keys{hmac(2, never), hmac(1, in(1))}, hmac(3, never), 5 * time.Hour, keys{hmac(3, never), hmac(2, in(5)), hmac(1, in(1))}},
		"a later end comes nearer":             {keys{hmac(2, never), hmac(1, in(9))}, hmac(3, never), 5 * time.Hour, keys{hmac(3, never), hmac(2, in(5)), hmac(1, in(5))}},
		"what has expired goes":                {keys{hmac(2, never), hmac(1, now), pair(8, never), pair(7, in(-1))}, hmac(3, never), time.Hour, keys{hmac(3, never), hmac(2, in(1)), pair(8, never)}},
		"the oldest beyond the limit goes":     {keys{hmac(4, never), hmac(3, in(9)), hmac(2, in(9)), hmac(1, in(9))}, hmac(5, never), 9 * time.Hour, keys{hmac(5, never), hmac(4, in(9)), hmac(3, in(9)), hmac(2, in(9))}},
		"an expired one takes nobody's place":  {keys{hmac(4, never), hmac(3, in(-1)), hmac(2, in(9)), hmac(1, in(9))}, hmac(5, never), 9 * time.Hour, keys{hmac(5, never), hmac(4, in(9)), hmac(2, in(9)), hmac(1, in(9))}},
		"the other scheme is left alone":       {keys{hmac(1, never), pair(7, never)}, hmac(2, never), 0, keys{hmac(2, never), pair(7, never)}},
		"a first pair, behind the secrets":     {keys{hmac(2, never), hmac(1, in(1))}, pair(7, never), 0, keys{hmac(2, never), hmac(1, in(1)), pair(7, never)}},
		"a second pair":                        {keys{hmac(1, never), pair(7, never)}, pair(8, never), time.Hour, keys{hmac(1, never), pair(8, never), pair(7, in(1))}},
		"a sealed one, which is not read here": {keys{{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: "k1"}}}, hmac(1, never), time.Hour, keys{hmac(1, never), {Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: "k1"}, ExpiresAt: in(1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tt.had)
			got := rotated(tt.had, tt.by, tt.overlap, now)
			if !cmp.Equal(tt.want, keys(got)) {
				t.Errorf("rotated (-want +got):\n%s", cmp.Diff(described(tt.want), described(got)))
			}
			if !cmp.Equal(before, tt.had) {
				t.Error("the list that was given has changed")
			}
		})
	}
}

// described are keys as text: they do not print.
func described(keys []webhook.SigningKey) (out []string) {
	for _, k := range keys {
		out = append(out, fmt.Sprintf("%s %x until %s", k.Scheme, k.Secret.Bytes, k.ExpiresAt))
	}
	return out
}

func TestWithKeyPair(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	secret, pair, other := numbered(t, webhook.SchemeHMAC, 1), numbered(t, webhook.SchemeEd25519, 2), numbered(t, webhook.SchemeEd25519, 3)
	former := numbered(t, webhook.SchemeHMAC, 4)
	former.ExpiresAt = now
	other.ExpiresAt = now.Add(time.Hour)
	for name, tt := range map[string]struct {
		had    []webhook.SigningKey
		wanted bool
		want   []webhook.SigningKey
	}{
		"made":                 {[]webhook.SigningKey{secret, former}, true, []webhook.SigningKey{secret, pair}},
		"there already":        {[]webhook.SigningKey{secret, former, other}, true, []webhook.SigningKey{secret, former, other}},
		"removed, all of them": {[]webhook.SigningKey{secret, former, pair, other}, false, []webhook.SigningKey{secret}},
		"not there":            {[]webhook.SigningKey{secret, former}, false, []webhook.SigningKey{secret, former}},
	} {
		before := slices.Clone(tt.had)
		if got := withKeyPair(tt.had, tt.wanted, [32]byte{2}, now); !cmp.Equal(tt.want, got) {
			t.Errorf("%s (-want +got):\n%s", name, cmp.Diff(described(tt.want), described(got)))
		}
		if !cmp.Equal(before, tt.had) {
			t.Errorf("%s: the list that was given has changed", name)
		}
	}
}

func TestCheckNew(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	current, former, pair := numbered(t, webhook.SchemeHMAC, 1), numbered(t, webhook.SchemeHMAC, 2), numbered(t, webhook.SchemeEd25519, 3)
	former.ExpiresAt = end
	sealing, err := seal.New("k1", [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	had, _, err := sealing.Webhook(webhook.Webhook{ID: "w", SigningKeys: []webhook.SigningKey{pair, current, former}}, nonce)
	if err != nil {
		t.Fatal(err)
	}
	lost := webhook.SigningKey{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: "k2", Bytes: numbered(t, webhook.SchemeHMAC, 9).Secret.Bytes}}
	plain := webhook.SigningKey{Scheme: webhook.SchemeHMAC, Secret: numbered(t, webhook.SchemeHMAC, 4).Secret, ExpiresAt: end}
	had.SigningKeys = append(had.SigningKeys, lost, plain)
	for name, tt := range map[string]struct {
		key  webhook.SigningKey
		want string
	}{
		"new":                    {numbered(t, webhook.SchemeHMAC, 5), ""},
		"current":                {numbered(t, webhook.SchemeHMAC, 1), "is the webhook's secret already"},
		"former":                 {numbered(t, webhook.SchemeHMAC, 2), "is a former secret of the webhook"},
		"former, not sealed":     {numbered(t, webhook.SchemeHMAC, 4), "is a former secret of the webhook"},
		"bytes of a sealed one":  {numbered(t, webhook.SchemeHMAC, 9), ""},
		"bytes of another kind":  {numbered(t, webhook.SchemeHMAC, 3), ""},
		"the pair that it is by": {numbered(t, webhook.SchemeEd25519, 3), "is the webhook's secret already"},
	} {
		err := checkNew(sealing, had, tt.key)
		var f invalid.Fields
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &f) || len(f) != 1 || f[0].Name != "secret" || !strings.HasPrefix(f[0].Message, tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestDecodeRotation(t *testing.T) {
	t.Parallel()
	own := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 24)))
	for name, tt := range map[string]struct {
		body    string
		scheme  webhook.Scheme
		overlap time.Duration
		fields  string // at fault, with spaces between them
	}{
		"no body":             {"", "v1", 24 * time.Hour, ""},
		"blanks":              {" \n", "v1", 24 * time.Hour, ""},
		"nothing said":        {"{}", "v1", 24 * time.Hour, ""},
		"nulls":               {`{"scheme":null,"secret":null,"overlap_seconds":null}`, "v1", 24 * time.Hour, ""},
		"all said":            {`{"scheme":"v1","secret":"` + own + `","overlap_seconds":60}`, "v1", time.Minute, ""},
		"at once":             {`{"overlap_seconds":0}`, "v1", 0, ""},
		"a week":              {`{"overlap_seconds":604800,"scheme":"v1a"}`, "v1a", 7 * 24 * time.Hour, ""},
		"more than a week":    {`{"overlap_seconds":604801}`, "", 0, "overlap_seconds"},
		"overlap that flows":  {`{"overlap_seconds":9223372036854775807}`, "", 0, "overlap_seconds"},
		"less than nothing":   {`{"overlap_seconds":-1}`, "", 0, "overlap_seconds"},
		"least of all":        {`{"overlap_seconds":-9223372036854775808}`, "", 0, "overlap_seconds"},
		"half a second":       {`{"overlap_seconds":0.5}`, "", 0, "overlap_seconds"},
		"another scheme":      {`{"scheme":"v2"}`, "", 0, "scheme"},
		"23 bytes":            {`{"secret":"whsec_` + base64.StdEncoding.EncodeToString(make([]byte, 23)) + `"}`, "", 0, "secret"},
		"65 bytes":            {`{"secret":"whsec_` + base64.StdEncoding.EncodeToString(make([]byte, 65)) + `"}`, "", 0, "secret"},
		"a key pair's text":   {`{"secret":"whsk_` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}`, "", 0, "secret"},
		"a secret for a pair": {`{"scheme":"v1a","secret":"` + own + `"}`, "", 0, "secret"},
		"all wrong":           {`{"secret":"x","overlap_seconds":-1}`, "", 0, "overlap_seconds secret"},
		"another field":       {`{"overlap":60}`, "", 0, "overlap"},
		"an array":            {`[]`, "", 0, "body"},
		"not JSON":            {`{`, "", 0, "body"},
	} {
		key, overlap, err := decodeRotation([]byte(tt.body), [32]byte{7})
		var f invalid.Fields
		if err != nil && !errors.As(err, &f) {
			t.Errorf("%s: %v", name, err)
		}
		var fields []string
		for _, x := range f {
			fields = append(fields, x.Name)
			if strings.Contains(x.Message, "whsec_"+own[6:12]) {
				t.Errorf("%s: the fault repeats the secret: %s", name, x.Message)
			}
		}
		if got := strings.Join(fields, " "); got != tt.fields {
			t.Errorf("%s: fields %q at fault, want %q", name, got, tt.fields)
		}
		if tt.fields != "" {
			continue
		}
		if key.Scheme != tt.scheme || overlap != tt.overlap || !key.ExpiresAt.IsZero() {
			t.Errorf("%s: a key of %s that overlaps %s until %s, want %s and %s", name, key.Scheme, overlap, key.ExpiresAt, tt.scheme, tt.overlap)
		}
		if given := strings.Contains(tt.body, own); given != (string(key.Secret.Bytes) == strings.Repeat("k", 24)) {
			t.Errorf("%s: another secret than the one that was given", name)
		}
	}
}

// made is a key that a random history made, and when it signs by the rules, in words of their own: until the
// nearest of the overlaps of all rotations that followed, or until it was cut.
type made struct {
	key  webhook.SigningKey
	ends time.Time // zero: never
}

func (m made) signs(at time.Time) bool { return m.ends.IsZero() || at.Before(m.ends) }

// lineage is a webhook's keys through random rotations, beside what they should be.
type lineage struct {
	keys []webhook.SigningKey
	made []*made // oldest first
}

func (h *lineage) rotate(key webhook.SigningKey, overlap time.Duration, now time.Time) {
	h.keys = rotated(h.keys, key, overlap, now)
	left := maxKeys - 1
	for _, m := range slices.Backward(h.made) {
		if m.key.Scheme != key.Scheme || !m.signs(now) {
			continue
		}
		if end := now.Add(overlap); m.ends.IsZero() || end.Before(m.ends) {
			m.ends = end
		}
		if m.signs(now) {
			if left--; left < 0 {
				m.ends = now
			}
		}
	}
	h.made = append(h.made, &made{key: key})
}

func (h *lineage) removePair(now time.Time) {
	h.keys = withKeyPair(h.keys, false, [32]byte{}, now)
	for _, m := range h.made {
		if m.key.Scheme == webhook.SchemeEd25519 && m.signs(now) {
			m.ends = now
		}
	}
}

// check signs as a sender does at a time, and verifies with every key that ever was, as receivers do.
func (h *lineage) check(t *rapid.T, at time.Time) {
	var prepared []signature.Key
	for _, k := range h.keys {
		s, err := signature.SecretOf(signature.Scheme(k.Scheme), k.Secret.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, signature.Key{Secret: s, ExpiresAt: k.ExpiresAt})
	}
	value, err := signature.Sign(prepared, "msg_1", at, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	headers := signature.Headers{ID: "msg_1", Timestamp: signature.Timestamp(at), Signature: value}
	for i, m := range h.made {
		s, err := signature.SecretOf(signature.Scheme(m.key.Scheme), m.key.Secret.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if public, ok := s.Public(); ok {
			s = public
		}
		// Verify refuses what has too many signatures.
		if err := signature.Verify([]signature.Secret{s}, headers, []byte("{}"), at, signature.Tolerance); (err == nil) != m.signs(at) {
			t.Fatalf("at %s, key %d of %d (%s, until %s): %v", at, i, len(h.made), m.key.Scheme, m.ends, err)
		}
	}
	for i, scheme := range []webhook.Scheme{webhook.SchemeHMAC, webhook.SchemeEd25519} {
		n := strings.Count(value, string(scheme)+",")
		if n > maxKeys || i == 0 && (n == 0 || !strings.HasPrefix(value, "v1,")) {
			t.Fatalf("at %s: %d signatures of %s in %q", at, n, scheme, value)
		}
	}
}

// Whatever is rotated when: the newest key of each scheme signs, a replaced one signs exactly as long as the
// overlaps allow, and no receiver finds too many signatures.
func TestKeysSignAsLongAsTheyShould(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		h := &lineage{}
		next := byte(0)
		key := func(scheme webhook.Scheme) webhook.SigningKey {
			next++
			if scheme == webhook.SchemeEd25519 {
				return keyPairOf([32]byte{next})
			}
			k, err := signingKey("", [32]byte{next})
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		h.rotate(key(webhook.SchemeHMAC), 0, now)
		overlaps := rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Hour, defaultOverlap, maxOverlap})
		steps := rapid.SampledFrom([]time.Duration{0, 1, time.Second, time.Minute - 1, time.Minute, time.Hour, defaultOverlap, maxOverlap})
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			now = now.Add(steps.Draw(t, "later"))
			switch rapid.IntRange(0, 5).Draw(t, "change") {
			case 0:
				h.removePair(now)
			case 1, 2:
				h.rotate(key(webhook.SchemeEd25519), overlaps.Draw(t, "overlap"), now)
			default:
				h.rotate(key(webhook.SchemeHMAC), overlaps.Draw(t, "overlap"), now)
			}
			h.check(t, now)
			h.check(t, now.Add(steps.Draw(t, "then")))
		}
	})
}
