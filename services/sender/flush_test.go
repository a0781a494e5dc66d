package sender_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/services/sender"
)

// processConfig names the configuration of a sender that this program is to be.
const processConfig = "DOORSTEP_TEST_SENDER"

// TestSenderProcess is a sender in a process of its own, for tests that kill one.
func TestSenderProcess(t *testing.T) {
	text := os.Getenv(processConfig)
	if text == "" {
		t.Skip("only as a process of another test")
	}
	var cfg sender.Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	s, err := sender.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// startProcess runs a sender that can be killed.
func (r *rig) startProcess(instance string) (kill func()) {
	r.t.Helper()
	cfg := r.cfg
	cfg.Instance = instance
	text, err := json.Marshal(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	process := exec.CommandContext(r.t.Context(), os.Args[0], "-test.run=^TestSenderProcess$")
	process.Env = append(os.Environ(), processConfig+"="+string(text))
	if err := process.Start(); err != nil {
		r.t.Fatal(err)
	}
	kill = func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	}
	r.t.Cleanup(kill)
	return kill
}

const (
	warnAfter, disableAfter = 250, 500
	atFlush                 = 300
)

// Redis loses everything at a streak of 300: there is no second warning, and the webhook is disabled at 500.
func TestRedisEmptiedInAStreak(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	r.cfg.WarnAfter, r.cfg.DisableAfter = warnAfter, disableAfter
	rec := newReceiver(t, always(500))
	r.start("a")
	w := r.webhook(rec.URL+"/w", tries(0))
	for n := range atFlush {
		r.deliver(w, n)
	}
	rec.wait(t, "/w", atFlush)
	testkit.DeleteKeys(t, r.cfg.Redis.URL, r.cfg.Redis.Prefix)
	for n := range disableAfter {
		r.deliver(w, atFlush+n)
	}
	s := r.stateWhen(w, "disabled", func(s failure.State) bool { return s.Disabled })
	r.suspended(w, atFlush)
	if posts := len(rec.posts("/w")); posts != disableAfter || s.FailStreak != disableAfter {
		t.Errorf("disabled at a streak of %d, after %d posts; want %d", s.FailStreak, posts, disableAfter)
	}
	r.toldOnce(w, s)
}

// The same with the sender killed at once: the next one goes on from `states`, which may be a second behind.
func TestRedisEmptiedAndTheSenderKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, "1m")
	r.cfg.WarnAfter, r.cfg.DisableAfter = warnAfter, disableAfter
	rec := newReceiver(t, always(500))
	kill := r.startProcess("a")
	w := r.webhook(rec.URL+"/w", tries(0))
	for n := range atFlush {
		r.deliver(w, n)
	}
	rec.wait(t, "/w", atFlush)
	testkit.DeleteKeys(t, r.cfg.Redis.URL, r.cfg.Redis.Prefix)
	kill()
	known := r.stateOf(w).FailStreak
	r.start("a")
	for n := range disableAfter {
		r.deliver(w, atFlush+n)
	}
	s := r.stateWhen(w, "disabled", func(s failure.State) bool { return s.Disabled && len(s.PendingNotices) == 0 })
	posts := len(rec.posts("/w"))
	t.Logf("a streak of %d was on `states`; disabled after %d posts", known, posts)
	if known < warnAfter || s.FailStreak != disableAfter || posts < disableAfter || posts > disableAfter+atFlush-known {
		t.Errorf("disabled at a streak of %d, after %d posts", s.FailStreak, posts)
	}
	r.toldOnce(w, s)
}

// toldOnce checks that a webhook that was disabled by a streak has one warning, and one notice of the disable.
func (r *rig) toldOnce(w webhook.Webhook, s failure.State) {
	r.t.Helper()
	want := fmt.Sprint(map[failure.NoticeKind]map[string]bool{
		failure.NoticeWarning:  {failure.NoticeID(s.WebhookID, s.Generation, s.FailStreakStartedAt, failure.NoticeWarning): true},
		failure.NoticeDisabled: {failure.NoticeID(s.WebhookID, s.Generation, s.FailStreakStartedAt, failure.NoticeDisabled): true},
	})
	eventually(r.t, func() error {
		if got := fmt.Sprint(r.notices(w)); got != want {
			return fmt.Errorf("notices %s, want %s", got, want)
		}
		return nil
	})
}
