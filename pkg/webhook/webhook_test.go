package webhook_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

func TestTypeMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"card.updated", "card.updated", true},
		{"card.updated", "card.updated.twice", false},
		{"card.updated", "card", false},
		{"card.*", "card.updated", true},
		{"card.*", "card.cover.updated", true},
		{"card.*", "card", false},
		{"card.*", "cards.updated", false},
		{"card.cover.*", "card.updated", false},
		{"*", "card.updated", true},
		{"*", "ping", true},
	} {
		if got := webhook.TypeMatches(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%s of %s: %v, want %v", tt.pattern, tt.name, got, tt.want)
		}
	}
}

func TestWants(t *testing.T) {
	w := webhook.Webhook{EventTypes: []string{"order.created", "card.*"}}
	for name, want := range map[string]bool{"order.created": true, "card.updated": true, "order.deleted": false, "": false} {
		if got := w.Wants(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	if (webhook.Webhook{}).Wants("card.updated") {
		t.Error("a webhook without event types wants one")
	}
}

func TestPayloadOver(t *testing.T) {
	yes, no := true, false
	defaults := webhook.Payload{Format: webhook.FormatThin, Exclude: &[]string{"a"}, Stringify: &yes}
	for name, tt := range map[string]struct{ p, want webhook.Payload }{
		"nothing said: all of the defaults": {webhook.Payload{}, defaults},
		"format alone":                      {webhook.Payload{Format: webhook.FormatRaw}, webhook.Payload{Format: webhook.FormatRaw, Exclude: &[]string{"a"}, Stringify: &yes}},
		"nothing to exclude is said too":    {webhook.Payload{Exclude: &[]string{}}, webhook.Payload{Format: webhook.FormatThin, Exclude: &[]string{}, Stringify: &yes}},
		"and so is false":                   {webhook.Payload{Stringify: &no}, webhook.Payload{Format: webhook.FormatThin, Exclude: &[]string{"a"}, Stringify: &no}},
	} {
		if diff := cmp.Diff(tt.want, tt.p.Over(defaults)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if diff := cmp.Diff(defaults, defaults.Over(webhook.Payload{})); diff != "" {
		t.Errorf("over nothing: %s", diff)
	}
}

func TestSealedDoesNotPrintItsSecret(t *testing.T) {
	sealed := webhook.Sealed{KeyID: webhook.PlainKeyID, Bytes: []byte("s3cret")}
	key := webhook.SigningKey{Scheme: webhook.SchemeHMAC, Secret: sealed}
	whole := webhook.Webhook{ID: "w-1", Headers: []webhook.Header{{Name: "Authorization", Value: sealed}}, SigningKeys: []webhook.SigningKey{key}}
	// The secret as text, in hexadecimal (also as %#v spells bytes) and in decimal.
	forms := []string{"s3cret", hex.EncodeToString(sealed.Bytes), "0x73, 0x33", "115 51"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for name, v := range map[string]any{"sealed": sealed, "pointer": &sealed, "key": key, "webhook": whole, "list": []webhook.Sealed{sealed}} {
			got := fmt.Sprintf(verb, v)
			for _, form := range forms {
				if strings.Contains(got, form) {
					t.Errorf("%s of %s shows the secret: %s", verb, name, got)
				}
			}
		}
		if got := fmt.Sprintf(verb, sealed); got != "sealed:plain" {
			t.Errorf("%s: %s", verb, got)
		}
	}
	b, err := json.Marshal(key)
	if err != nil || !strings.Contains(string(b), `"Secret":"sealed:plain"`) {
		t.Errorf("JSON: %s, %v", b, err)
	}
}
