package signature_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/signature"
)

// The vector of the specification's own libraries.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

var vectorTime = time.Unix(1614265330, 0)

func parse(t testing.TB, text string) signature.Secret {
	t.Helper()
	s, err := signature.ParseSecret(text)
	if err != nil {
		t.Fatalf("ParseSecret: %v", err)
	}
	return s
}

func keyPair(seed byte) signature.Secret {
	return signature.NewKeyPair([32]byte(bytes.Repeat([]byte{seed}, 32)))
}

func TestSignVector(t *testing.T) {
	got, err := signature.Sign([]signature.Key{{Secret: parse(t, vectorSecret)}}, vectorID, vectorTime, []byte(vectorBody))
	if err != nil || got != vectorSignature {
		t.Errorf("Sign = %q, %v, want %q", got, err, vectorSignature)
	}
}

// ed25519 signatures are checked against RFC 8032's scheme itself: no other library has v1a.
func TestSignEd25519(t *testing.T) {
	pair := keyPair(7)
	got, err := signature.Sign([]signature.Key{{Secret: pair}}, vectorID, vectorTime, []byte(vectorBody))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(got, "v1a,"))
	if err != nil {
		t.Fatalf("Sign = %q: %v", got, err)
	}
	public := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)).Public().(ed25519.PublicKey)
	if !ed25519.Verify(public, []byte(vectorID+".1614265330."+vectorBody), raw) {
		t.Errorf("Sign = %q does not verify", got)
	}
}

func TestSignKeys(t *testing.T) {
	current, old, pair := parse(t, vectorSecret), signature.NewSecret([32]byte{1}), keyPair(7)
	at := vectorTime
	for name, tt := range map[string]struct {
		keys []signature.Key
		want []string // schemes
	}{
		"none":                    {nil, nil},
		"one":                     {[]signature.Key{{Secret: current}}, []string{"v1"}},
		"both while rotating":     {[]signature.Key{{Secret: current}, {Secret: old, ExpiresAt: at.Add(time.Hour)}}, []string{"v1", "v1"}},
		"an expired one is left":  {[]signature.Key{{Secret: current}, {Secret: old, ExpiresAt: at.Add(-time.Hour)}}, []string{"v1"}},
		"expired at that moment":  {[]signature.Key{{Secret: old, ExpiresAt: at}, {Secret: current}}, []string{"v1"}},
		"all expired":             {[]signature.Key{{Secret: old, ExpiresAt: at}}, nil},
		"HMAC and ed25519":        {[]signature.Key{{Secret: current}, {Secret: pair}}, []string{"v1", "v1a"}},
		"two of each, as ordered": {[]signature.Key{{Secret: pair}, {Secret: current}, {Secret: keyPair(8)}, {Secret: old}}, []string{"v1a", "v1", "v1a", "v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			value, err := signature.Sign(tt.keys, vectorID, at, []byte(vectorBody))
			if err != nil {
				t.Fatal(err)
			}
			var schemes []string
			for s := range strings.FieldsSeq(value) {
				scheme, _, _ := strings.Cut(s, ",")
				schemes = append(schemes, scheme)
			}
			if fmt.Sprint(schemes) != fmt.Sprint(tt.want) {
				t.Errorf("Sign = %q, want schemes %v", value, tt.want)
			}
			headers := signature.Headers{ID: vectorID, Timestamp: signature.Timestamp(at), Signature: value}
			for _, k := range tt.keys {
				valid := k.ExpiresAt.IsZero() || at.Before(k.ExpiresAt)
				err := signature.Verify([]signature.Secret{k.Secret}, headers, []byte(vectorBody), at, signature.Tolerance)
				if (err == nil) != valid {
					t.Errorf("Verify with %v (expires %s) = %v", k.Secret, k.ExpiresAt, err)
				}
			}
		})
	}
}

func TestSignerRefuses(t *testing.T) {
	public, _ := keyPair(1).Public()
	for _, s := range []signature.Secret{{}, public} {
		if _, err := signature.NewSigner(signature.Key{Secret: s}); err == nil {
			t.Errorf("NewSigner(%v) = nil error", s)
		}
	}
}

func TestSignerIsSafeForConcurrentUse(t *testing.T) {
	signer, err := signature.NewSigner(signature.Key{Secret: parse(t, vectorSecret)}, signature.Key{Secret: keyPair(1)})
	if err != nil {
		t.Fatal(err)
	}
	want := signer.Sign(vectorID, vectorTime, []byte(vectorBody))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got := signer.Sign(vectorID, vectorTime, []byte(vectorBody)); got != want {
					t.Errorf("Sign = %q, want %q", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What we sign, the reference library verifies, and the other way round.
func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), signature.MinKeyLength, signature.MaxKeyLength).Draw(t, "key")
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		id := rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`).Draw(t, "id")
		secret, err := signature.SecretOf(signature.SchemeHMAC, raw)
		if err != nil {
			t.Fatal(err)
		}
		reference, err := standardwebhooks.NewWebhook(secret.Text())
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now() // the library's own clock
		ours, err := signature.Sign([]signature.Key{{Secret: keyPair(3)}, {Secret: secret}}, id, now, body)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		header.Set(standardwebhooks.HeaderWebhookID, id)
		header.Set(standardwebhooks.HeaderWebhookTimestamp, signature.Timestamp(now))
		header.Set(standardwebhooks.HeaderWebhookSignature, ours)
		if err := reference.Verify(body, header); err != nil {
			t.Fatalf("the reference refuses %q: %v", ours, err)
		}
		theirs, err := reference.Sign(id, now, body)
		if err != nil {
			t.Fatal(err)
		}
		header.Set(standardwebhooks.HeaderWebhookSignature, theirs)
		if err := signature.Verify([]signature.Secret{secret}, signature.HeadersOf(header), body, now, signature.Tolerance); err != nil {
			t.Fatalf("Verify(%q): %v", theirs, err)
		}
		if err := signature.Verify([]signature.Secret{secret}, signature.HeadersOf(header), append(body, '\n'), now, signature.Tolerance); !errors.Is(err, signature.ErrNoMatch) {
			t.Fatalf("Verify of another body: %v, want ErrNoMatch", err)
		}
	})
}

// While a secret is replaced, receivers with the reference library go on with either secret, and a key pair
// beside them does not disturb it.
func TestRotationAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now() // the library's own clock
		var keys []signature.Key
		for i := range rapid.IntRange(1, 8).Draw(t, "keys") {
			k := signature.Key{Secret: signature.NewSecret([32]byte{byte(i), 1})}
			if rapid.Bool().Draw(t, "pair") {
				k.Secret = keyPair(byte(i))
			}
			if ends := rapid.SampledFrom([]time.Duration{0, -time.Hour, time.Hour}).Draw(t, "ends"); ends != 0 {
				k.ExpiresAt = now.Add(ends)
			}
			keys = append(keys, k)
		}
		value, err := signature.Sign(keys, vectorID, now, []byte(vectorBody))
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		header.Set(standardwebhooks.HeaderWebhookID, vectorID)
		header.Set(standardwebhooks.HeaderWebhookTimestamp, signature.Timestamp(now))
		header.Set(standardwebhooks.HeaderWebhookSignature, value)
		for i, k := range keys {
			valid := k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt)
			ours := signature.Verify([]signature.Secret{k.Secret}, signature.HeadersOf(header), []byte(vectorBody), now, signature.Tolerance)
			if (ours == nil) != valid {
				t.Fatalf("key %d of %d (%v, until %s): Verify = %v", i, len(keys), k.Secret, k.ExpiresAt, ours)
			}
			if k.Secret.Scheme() != signature.SchemeHMAC {
				continue
			}
			reference, err := standardwebhooks.NewWebhook(k.Secret.Text())
			if err != nil {
				t.Fatal(err)
			}
			if err := reference.Verify([]byte(vectorBody), header); (err == nil) != valid {
				t.Fatalf("key %d of %d (%v, until %s): the reference says %v of %q", i, len(keys), k.Secret, k.ExpiresAt, err, value)
			}
		}
	})
}

func TestVerifyRefuses(t *testing.T) {
	secret := parse(t, vectorSecret)
	good := signature.Headers{ID: vectorID, Timestamp: "1614265330", Signature: vectorSignature}
	change := func(f func(*signature.Headers)) signature.Headers { h := good; f(&h); return h }
	for name, tt := range map[string]struct {
		headers signature.Headers
		body    string
		now     time.Time
		want    error
	}{
		"right":                  {good, vectorBody, vectorTime, nil},
		"as old as can be":       {good, vectorBody, vectorTime.Add(signature.Tolerance), nil},
		"as new as can be":       {good, vectorBody, vectorTime.Add(-signature.Tolerance), nil},
		"right among others":     {change(func(h *signature.Headers) { h.Signature = "v1,AAAA v2,x v1a,AAAA  " + h.Signature + " v9" }), vectorBody, vectorTime, nil},
		"too old":                {good, vectorBody, vectorTime.Add(signature.Tolerance + time.Second), signature.ErrTooOld},
		"too new":                {good, vectorBody, vectorTime.Add(-signature.Tolerance - time.Second), signature.ErrTooNew},
		"far in the future":      {change(func(h *signature.Headers) { h.Timestamp = "1099511627776" }), vectorBody, vectorTime, signature.ErrTooNew},
		"time that overflows":    {change(func(h *signature.Headers) { h.Timestamp = "9223372036854775807" }), vectorBody, vectorTime, signature.ErrHeaders},
		"other body":             {good, vectorBody + " ", vectorTime, signature.ErrNoMatch},
		"other id":               {change(func(h *signature.Headers) { h.ID = "msg_other" }), vectorBody, vectorTime, signature.ErrNoMatch},
		"other time":             {change(func(h *signature.Headers) { h.Timestamp = "1614265331" }), vectorBody, vectorTime, signature.ErrNoMatch},
		"no id":                  {change(func(h *signature.Headers) { h.ID = "" }), vectorBody, vectorTime, signature.ErrHeaders},
		"id with a dot":          {change(func(h *signature.Headers) { h.ID = "a.b" }), vectorBody, vectorTime, signature.ErrHeaders},
		"no time":                {change(func(h *signature.Headers) { h.Timestamp = "" }), vectorBody, vectorTime, signature.ErrHeaders},
		"time in another form":   {change(func(h *signature.Headers) { h.Timestamp = "+1614265330" }), vectorBody, vectorTime, signature.ErrHeaders},
		"time with a fraction":   {change(func(h *signature.Headers) { h.Timestamp = "1614265330.0" }), vectorBody, vectorTime, signature.ErrHeaders},
		"time before 1970":       {change(func(h *signature.Headers) { h.Timestamp = "-1" }), vectorBody, vectorTime, signature.ErrHeaders},
		"no signature":           {change(func(h *signature.Headers) { h.Signature = "" }), vectorBody, vectorTime, signature.ErrHeaders},
		"too many signatures":    {change(func(h *signature.Headers) { h.Signature = strings.Repeat("v1,x ", 40) + h.Signature }), vectorBody, vectorTime, signature.ErrHeaders},
		"empty signature":        {change(func(h *signature.Headers) { h.Signature = "v1," }), vectorBody, vectorTime, signature.ErrNoMatch},
		"cut signature":          {change(func(h *signature.Headers) { h.Signature = h.Signature[:20] }), vectorBody, vectorTime, signature.ErrNoMatch},
		"scheme of another kind": {change(func(h *signature.Headers) { h.Signature = "v1a" + strings.TrimPrefix(h.Signature, "v1") }), vectorBody, vectorTime, signature.ErrNoMatch},
	} {
		t.Run(name, func(t *testing.T) {
			err := signature.Verify([]signature.Secret{secret, keyPair(9)}, tt.headers, []byte(tt.body), tt.now, signature.Tolerance)
			if !errors.Is(err, tt.want) {
				t.Errorf("Verify = %v, want %v", err, tt.want)
			}
		})
	}
	for _, none := range [][]signature.Secret{nil, {{}}} {
		if err := signature.Verify(none, good, []byte(vectorBody), vectorTime, signature.Tolerance); !errors.Is(err, signature.ErrSecret) {
			t.Errorf("Verify without a secret = %v, want ErrSecret", err)
		}
	}
}

func TestHeadersOf(t *testing.T) {
	h := http.Header{}
	h.Set("webhook-id", "a")
	h.Set("webhook-timestamp", "1")
	h.Add("webhook-signature", "v1,x")
	h.Add("webhook-signature", "v1,y")
	if got, want := signature.HeadersOf(h), (signature.Headers{ID: "a", Timestamp: "1"}); got != want {
		t.Errorf("HeadersOf = %+v, want %+v", got, want)
	}
}

func TestSecretText(t *testing.T) {
	pair := keyPair(5)
	public, ok := pair.Public()
	if !ok {
		t.Fatal("a key pair has no public key")
	}
	for _, s := range []signature.Secret{signature.NewSecret([32]byte{1, 2}), parse(t, vectorSecret), pair, public} {
		if again := parse(t, s.Text()); again != s {
			t.Errorf("%v does not read back from its text", s)
		}
	}
	for prefix, s := range map[string]signature.Secret{"whsec_": signature.NewSecret([32]byte{}), "whsk_": pair, "whpk_": public} {
		if !strings.HasPrefix(s.Text(), prefix) {
			t.Errorf("Text of %v does not start with %s", s, prefix)
		}
	}
	seedOnly := "whsk_" + base64.StdEncoding.EncodeToString(pair.Raw())
	if parse(t, seedOnly) != pair {
		t.Error("whsk_ with the seed alone is another key")
	}
	for _, s := range []signature.Secret{parse(t, vectorSecret), pair} {
		if again, err := signature.SecretOf(s.Scheme(), s.Raw()); err != nil || again != s {
			t.Errorf("SecretOf(Raw of %v): %v, %v", s, again, err)
		}
	}
}

func TestParseSecretRefuses(t *testing.T) {
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xa5}, n)) }
	for name, text := range map[string]string{
		"empty": "", "no prefix": b64(32), "other prefix": "sk_" + b64(32), "prefix alone": "whsec_", "not base64": "whsec_" + b64(32)[:20] + "!" + b64(32),
		"URL base64": "whsec_" + strings.Repeat("-_", 20), "23 bytes": "whsec_" + b64(23), "65 bytes": "whsec_" + b64(65), "seed of 31": "whsk_" + b64(31),
		"halves that differ": "whsk_" + b64(64), "public of 31": "whpk_" + b64(31), "a line end": "whsec_" + b64(32) + "\r\n x",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := signature.ParseSecret(text)
			if err == nil {
				t.Fatalf("ParseSecret(%q) = %v", text, s)
			}
			if len(text) > 12 && strings.Contains(err.Error(), text[8:12]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
	if _, err := signature.SecretOf("v2", make([]byte, 32)); err == nil {
		t.Error("SecretOf with another scheme = nil error")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	for _, s := range []signature.Secret{parse(t, vectorSecret), keyPair(5)} {
		for _, printed := range []string{fmt.Sprintf("%v %s %+v %#v %q", s, s, s, s, s), fmt.Sprintf("%v %+v", signature.Key{Secret: s}, []signature.Secret{s})} {
			if strings.Contains(printed, s.Text()[6:16]) || strings.Contains(printed, string(s.Raw()[:8])) {
				t.Errorf("a secret prints: %s", printed)
			}
		}
	}
}

// Verify never panics, and accepts only what Sign makes.
func FuzzVerify(f *testing.F) {
	secret, pair := parse(f, vectorSecret), keyPair(7)
	asymmetric, err := signature.Sign([]signature.Key{{Secret: pair}}, vectorID, vectorTime, []byte(vectorBody))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(vectorID, "1614265330", vectorSignature, []byte(vectorBody))
	f.Add(vectorID, "1614265330", asymmetric, []byte(vectorBody))
	f.Add("a.b", "1614265330", "v1,,v1a, v1,=", []byte(""))
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte) {
		headers := signature.Headers{ID: id, Timestamp: timestamp, Signature: signatures}
		if signature.Verify([]signature.Secret{secret, pair}, headers, body, vectorTime, signature.Tolerance) != nil {
			return
		}
		if id != vectorID || timestamp != "1614265330" || string(body) != vectorBody {
			t.Fatalf("accepted %+v with body %q", headers, body)
		}
		if !strings.Contains(signatures, vectorSignature) && !strings.Contains(signatures, asymmetric) {
			// Base64 has several spellings of one value: a match need not be the text that Sign makes.
			t.Logf("accepted by another spelling: %q", signatures)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	for name, secret := range map[string]signature.Secret{"v1": parse(b, vectorSecret), "v1a": keyPair(7)} {
		b.Run(name, func(b *testing.B) {
			signer, err := signature.NewSigner(signature.Key{Secret: secret})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if signer.Sign(vectorID, vectorTime, body) == "" {
					b.Fatal("no signature")
				}
			}
		})
	}
}
