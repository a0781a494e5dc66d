package sender

import (
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/seal"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// The log is told of a webhook at once, then each minute, and anew once it was readable or is gone.
func TestTellsOfUnreadableSecretsSeldom(t *testing.T) {
	t.Parallel()
	s := newSigners(seal.Keys{})
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	sound := webhook.Webhook{ID: "a", SigningKeys: []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Plain(signature.NewSecret([32]byte{1}).Raw())}}}
	lost := sound
	lost.Version, lost.SigningKeys = 2, []webhook.SigningKey{{Scheme: webhook.SchemeHMAC, Secret: webhook.Sealed{KeyID: "k1"}}}
	for _, step := range []struct {
		what string
		id   string
		at   time.Duration
		want bool
		then func()
	}{
		{"the first time", "a", 0, true, nil},
		{"again", "a", 59 * time.Second, false, nil},
		{"another webhook", "b", 59 * time.Second, true, nil},
		{"a minute later", "a", time.Minute, true, func() { _, _ = s.of(&lost, start) }},
		{"still unreadable", "a", 90 * time.Second, false, func() { _, _ = s.of(&sound, start) }},
		{"after it was readable", "a", 91 * time.Second, true, func() { s.forget("a") }},
		{"after it was gone", "a", 92 * time.Second, true, nil},
	} {
		if got := s.tell(step.id, start.Add(step.at)); got != step.want {
			t.Errorf("%s: told %t, want %t", step.what, got, step.want)
		}
		if step.then != nil {
			step.then()
		}
	}
	// What cannot be read is not remembered, and takes nothing away that is.
	if _, err := s.of(&lost, start); err == nil {
		t.Error("opened without its key")
	}
	if _, err := s.of(&sound, start); err != nil {
		t.Error(err)
	}
}
