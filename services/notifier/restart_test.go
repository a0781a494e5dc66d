package notifier

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// A notifier that dies before anybody can know that the mail server took a mail sends it again under the same
// Message-ID.
func TestKilledBehindTheServersAnswer(t *testing.T) {
	for name, emptied := range map[string]bool{"the lease is left": false, "Redis is emptied": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.administrator("acme", "a@example.com")
			static := func(c *Config) { c.Instance = "notifier-0" }
			victim := w.start(static)
			var once sync.Once
			w.office.onTaken(func(received) { once.Do(victim.kill) })
			n := notice("acme", failure.NoticeDisabled)
			w.raise(n)
			w.office.await(t, 1)
			if err := victim.stop(); err != nil {
				t.Fatal(err)
			}
			if records := w.mailed(); len(records) != 0 {
				t.Fatalf("it was recorded: %v", records)
			}
			if emptied {
				testkit.DeleteKeys(t, w.cfg.Redis.URL, w.cfg.Redis.Prefix)
			}
			w.start(static)
			w.office.await(t, 2)
			w.ended()
			if got := w.office.all(); len(got) != 2 || w.office.mails[0].id != w.office.mails[1].id || w.office.mails[0].id == "" {
				t.Errorf("mails %v, want 2 of one Message-ID", w.office.mails)
			}
			if record := w.mailed()[n.ID+" a@example.com"]; record.MailResult != failure.MailSent {
				t.Errorf("record %+v", record)
			}
		})
	}
}

// A notifier that died before the log had a record told Redis: only the record is made up for.
func TestRedisKnowsThatAMailHasEnded(t *testing.T) {
	w := newWorld(t)
	a, b := w.administrator("acme", "a@example.com"), w.administrator("acme", "b@example.com")
	r := w.start()
	n := notice("acme", failure.NoticeDisabled)
	died := r.redis.Mailed("another")
	if err := errors.Join(died.End(t.Context(), failure.MailedID(n.ID, a.ID), failure.MailSent),
		died.End(t.Context(), failure.MailedID(n.ID, b.ID), failure.MailFailed)); err != nil {
		t.Fatal(err)
	}
	w.raise(n)
	w.ended()
	records := w.mailed()
	sent, failed := records[n.ID+" a@example.com"], records[n.ID+" b@example.com"]
	if sent.MailResult != failure.MailSent || sent.MailText == "" || failed.MailResult != failure.MailFailed || failed.MailError == "" {
		t.Errorf("records %+v", records)
	}
	if got := w.office.all(); len(got) != 0 {
		t.Errorf("mails %v", got)
	}
}

func TestANoticeWrittenAgainIsNotMailedAgain(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	n, other := notice("acme", failure.NoticeWarning), notice("acme", failure.NoticeWarning)
	r := w.start()
	w.raise(n, n)
	w.office.await(t, 1)
	w.raise(n)
	w.ended()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	testkit.DeleteKeys(t, w.cfg.Redis.URL, w.cfg.Redis.Prefix)
	w.raise(n)
	w.start()
	w.raise(n, other)
	w.office.await(t, 2)
	w.ended()
	if diff := cmp.Diff(pairs(n.ID+" a@example.com", other.ID+" a@example.com"), w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
}

func TestRestartInTheMiddle(t *testing.T) {
	w := newWorld(t)
	for _, email := range []string{"a@example.com", "b@example.com", "late@example.com"} {
		w.administrator("acme", email)
	}
	w.office.refuses(refusing("late@example.com", later))
	r := w.start()
	var notices []failure.Notice
	for range 10 {
		notices = append(notices, notice("acme", failure.NoticeWarning))
	}
	w.raise(notices...)
	w.office.await(t, 20)
	testkit.Eventually(t, patience, func() error {
		if n := len(w.mailed()); n != 20 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.office.refuses(nil)
	testkit.DeleteKeys(t, w.cfg.Redis.URL, w.cfg.Redis.Prefix)
	w.start()
	w.ended()
	var want []string
	for _, n := range notices {
		for _, email := range []string{"a@example.com", "b@example.com", "late@example.com"} {
			want = append(want, n.ID+" "+email)
		}
	}
	if diff := cmp.Diff(pairs(want...), w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
}

func TestRedisIsAway(t *testing.T) {
	w := newWorld(t)
	w.cfg.Redis.URL, w.cfg.Redis.Timeout = "redis://127.0.0.1:1", 100*time.Millisecond
	w.administrator("acme", "a@example.com")
	r := w.start()
	n, second := notice("acme", failure.NoticeWarning), notice("acme", failure.NoticeDisabled)
	w.raise(n)
	w.ended()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.raise(n, second)
	w.ended()
	if diff := cmp.Diff(pairs(n.ID+" a@example.com", second.ID+" a@example.com"), w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
}

// A mail that another notifier is sending, as Redis says, is waited for.
func TestAnotherIsSending(t *testing.T) {
	w := newWorld(t)
	a := w.administrator("acme", "a@example.com")
	r := w.start()
	n := notice("acme", failure.NoticeWarning)
	other := r.redis.Mailed("another")
	if _, err := other.Take(t.Context(), failure.MailedID(n.ID, a.ID)); err != nil {
		t.Fatal(err)
	}
	w.raise(n, notice("acme", failure.NoticeWarning))
	w.office.await(t, 1)
	if got := w.office.all(); len(got) != 1 || strings.HasPrefix(got[0], n.ID) {
		t.Fatalf("mails %v", got)
	}
	if err := other.Release(t.Context(), failure.MailedID(n.ID, a.ID)); err != nil {
		t.Fatal(err)
	}
	if got := w.office.await(t, 2); !slices.Contains(got, n.ID+" a@example.com") {
		t.Errorf("mails %v", got)
	}
}

// What is old when it is first looked at is mailed only while it still holds.
func TestNoticesOfLongAgo(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com", func(a *tenant.Administrator) { a.CreatedAt = time.Now().Add(-1000 * time.Hour) })
	old := func(n *failure.Notice) { n.RaisedAt = n.RaisedAt.Add(-80 * time.Hour) }
	holds, over := notice("acme", failure.NoticeDisabled, old), notice("acme", failure.NoticeDisabled, old)
	deleted := notice("acme", failure.NoticeGone, old)
	for _, n := range []failure.Notice{holds, over} {
		w.write(wire.State(w.topics.States, failure.State{
			WebhookID: n.WebhookID, Tenant: n.Tenant, Generation: 1, Version: 500, Disabled: true, DisabledAt: n.RaisedAt, DisableReason: failure.DisabledByStreak,
		}))
	}
	w.hook(holds)
	w.hook(over, func(h *webhook.Webhook) { h.Generation = 2 }) // reactivated
	w.raise(holds, over, deleted)
	w.start()
	w.ended()
	if diff := cmp.Diff([]string{holds.ID + " a@example.com"}, w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	for _, n := range []failure.Notice{over, deleted} {
		if record := w.mailed()[n.ID+" a@example.com"]; record.MailResult != failure.MailFailed || !strings.Contains(record.MailError, "72h") {
			t.Errorf("record %+v", record)
		}
	}
}

// A stop ends mails under way well if it can, and does not wait for a server that hangs.
func TestStop(t *testing.T) {
	t.Run("a mail ends", func(t *testing.T) {
		w := newWorld(t)
		w.administrator("acme", "a@example.com")
		r := w.start()
		w.office.onTaken(func(received) { r.cancel() })
		n := notice("acme", failure.NoticeDisabled)
		w.raise(n)
		w.office.await(t, 1)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if record := w.mailed()[n.ID+" a@example.com"]; record.MailResult != failure.MailSent {
			t.Errorf("record %+v", record)
		}
	})
	t.Run("the server hangs", func(t *testing.T) {
		w := newWorld(t)
		w.administrator("acme", "a@example.com")
		release := make(chan struct{})
		inHand := make(chan struct{}, 10)
		w.office.refuses(func(string) error {
			inHand <- struct{}{}
			<-release
			return nil
		})
		static := func(c *Config) { c.Instance = "notifier-0" }
		r := w.start(static)
		n := notice("acme", failure.NoticeDisabled)
		w.raise(n)
		<-inHand
		began := time.Now()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > stopTime+2*noteTime {
			t.Errorf("the stop took %s", took)
		}
		close(release)
		w.start(static)
		w.office.await(t, 1)
		w.ended()
		if record := w.mailed()[n.ID+" a@example.com"]; record.MailResult != failure.MailSent {
			t.Errorf("record %+v", record)
		}
	})
}
