package notifier

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// pairs are mails as office.all has them.
func pairs(of ...string) []string {
	slices.Sort(of)
	return of
}

func TestNoticesInMailsOut(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.administrator("acme", "b@example.com")
	w.administrator("umbra", "c@example.com")
	warning, gone := notice("acme", failure.NoticeWarning), notice("umbra", failure.NoticeGone)
	disabled, expiry := notice("acme", failure.NoticeDisabled), notice("umbra", failure.NoticeExpiry)
	w.hook(warning)
	w.raise(warning, gone) // before it starts
	r := w.start()
	w.raise(disabled, expiry)
	got := w.office.await(t, 6)
	want := pairs(
		warning.ID+" a@example.com", warning.ID+" b@example.com", gone.ID+" c@example.com",
		disabled.ID+" a@example.com", disabled.ID+" b@example.com", expiry.ID+" c@example.com")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	w.ended()
	records := w.mailed()
	for _, pair := range want {
		if n := records[pair]; n.MailResult != failure.MailSent || n.MailedAt.IsZero() || n.MailSubject == "" || n.MailText == "" ||
			n.MailError != "" || n.Tenant == "" || n.WebhookID == "" || n.NoticeKind == "" || n.Generation != 1 {
			t.Errorf("record of %s: %+v", pair, n)
		}
	}
	if n := records[warning.ID+" a@example.com"]; !strings.Contains(n.MailText, "http://console.example.com/console/webhooks/"+warning.WebhookID) ||
		!strings.Contains(n.MailSubject, "Orders") || !strings.Contains(n.MailText, "500") {
		t.Errorf("the warning says %q:\n%s", n.MailSubject, n.MailText)
	}
	if len(records) != len(want) {
		t.Errorf("%d records, want %d", len(records), len(want))
	}
	if n := r.metric(t, "doorstep_notifier_mails_total"); n != 6 {
		t.Errorf("%v mails counted", n)
	}
	if n := r.metric(t, "doorstep_notifier_mails_waiting") + r.metric(t, "doorstep_notifier_oldest_waiting_seconds"); n != 0 {
		t.Errorf("%v waiting", n)
	}
}

func TestSeveralNotifiersShareTheWork(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.administrator("acme", "b@example.com")
	var want []string
	raise := func(n int) {
		for range n {
			n := notice("acme", failure.NoticeWarning)
			w.raise(n)
			want = append(want, n.ID+" a@example.com", n.ID+" b@example.com")
		}
	}
	raise(20)
	first, second := w.start(), w.start()
	raise(20)
	third := w.start()
	raise(20)
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	raise(20)
	w.office.await(t, len(want))
	w.ended()
	if diff := cmp.Diff(pairs(want...), w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	if n := len(w.mailed()); n != len(want) {
		t.Errorf("%d records, want %d", n, len(want))
	}
	testkit.Eventually(t, patience, func() error {
		if a, b := len(first.lanes.Parts()), len(third.lanes.Parts()); a != partitions/2 || b != partitions/2 {
			return fmt.Errorf("they own %d and %d partitions", a, b)
		}
		return nil
	})
}

func TestWhoIsMailed(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "all@example.com")
	w.administrator("acme", "other-kinds@example.com", func(a *tenant.Administrator) { a.Notices = []string{"gone", "warning"} })
	w.administrator("acme", "this-kind@example.com", func(a *tenant.Administrator) { a.Notices = []string{"disabled"} })
	w.administrator("acme", "new@example.com", func(a *tenant.Administrator) { a.CreatedAt = time.Now().Add(time.Hour).UTC() })
	deleted := w.administrator("acme", "deleted@example.com")
	w.write(&kgo.Record{Topic: w.topics.Settings, Key: []byte(wire.AdministratorKey(deleted.ID))}, nil)
	w.start()
	n, nobody := notice("acme", failure.NoticeDisabled), notice("nobody", failure.NoticeDisabled)
	w.raise(n, nobody)
	w.office.await(t, 2)
	w.ended()
	if diff := cmp.Diff(pairs(n.ID+" all@example.com", n.ID+" this-kind@example.com"), w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	if records := w.mailed(); len(records) != 2 {
		t.Errorf("records %v", records)
	}
}

// What an administrator changes between tries counts; what has ended stays ended.
func TestAdministratorsChange(t *testing.T) {
	w := newWorld(t)
	static := func(c *Config) { c.Instance = "notifier-0" }
	deleted, moved := w.administrator("acme", "deleted@example.com"), w.administrator("acme", "moved@example.com")
	picky := w.administrator("acme", "picky@example.com", func(a *tenant.Administrator) { a.Notices = []string{"gone"} })
	var tried atomic.Bool // the new address
	w.office.refuses(func(to string) error {
		if to == "new@example.com" {
			tried.Store(true)
		}
		return later
	})
	r := w.start(static)
	n := notice("acme", failure.NoticeDisabled)
	w.raise(n)
	testkit.Eventually(t, patience, func() error {
		if n := r.metric(t, "doorstep_notifier_retries_total"); n < 2 {
			return fmt.Errorf("%v retries", n)
		}
		return nil
	})
	w.write(&kgo.Record{Topic: w.topics.Settings, Key: []byte(wire.AdministratorKey(deleted.ID))}, nil)
	moved.Email = "new@example.com"
	w.write(wire.Administrator(w.topics.Settings, moved))
	testkit.Eventually(t, patience, func() error {
		if all := r.settings.Administrators("acme"); len(all) != 2 || !slices.ContainsFunc(all, func(a tenant.Administrator) bool { return a.Email == moved.Email }) {
			return fmt.Errorf("administrators %+v", all)
		}
		return nil
	})
	testkit.Eventually(t, patience, func() error { // tries that began before have ended
		if n := r.metric(t, "doorstep_notifier_mails_waiting"); n != 1 || !tried.Load() {
			return fmt.Errorf("%v mails wait, the new address was tried: %t", n, tried.Load())
		}
		return nil
	})
	w.office.refuses(nil)
	w.ended()
	picky.Notices = nil
	w.write(wire.Administrator(w.topics.Settings, picky))
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.start(static)
	w.raise(n)
	w.ended()
	if diff := cmp.Diff([]string{n.ID + " new@example.com"}, w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
}

func TestTheMailSaysHowManyAreSuspended(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	n := notice("acme", failure.NoticeDisabled)
	w.hook(n)
	suspend := func(webhookID string, at time.Time, ids ...string) {
		for _, id := range ids {
			r, err := wire.Delivery(w.topics.Suspended, delivery.Delivery{
				ID: id, Tenant: "acme", EventID: id, WebhookID: webhookID, SuspendedAt: at, Body: []byte(`{}`),
			})
			if err == nil {
				r.Timestamp = at
			}
			w.write(r, err)
		}
	}
	suspend(n.WebhookID, n.RaisedAt.Add(-time.Minute), "paused-before")
	suspend(n.WebhookID, n.RaisedAt.Add(time.Second), "one", "two", "two", "three")
	suspend(uuid.NewString(), n.RaisedAt.Add(time.Second), "another's")
	w.raise(n)
	w.start()
	w.office.await(t, 1)
	w.ended()
	if text := w.mailed()[n.ID+" a@example.com"].MailText; !strings.Contains(text, "3 deliveries") {
		t.Errorf("the mail says:\n%s", text)
	}
}
