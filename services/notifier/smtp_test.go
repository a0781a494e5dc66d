package notifier

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// Mails for which the server takes for ever when they come again leave places for one that is new.
func TestWhatKeepsFailingDelaysNothing(t *testing.T) {
	w := newWorld(t)
	for i := range 11 {
		w.administrator("acme", fmt.Sprintf("full%d@example.com", i))
	}
	w.administrator("umbra", "b@example.com")
	var mu sync.Mutex
	tries := map[string]int{}
	release := make(chan struct{})
	w.office.refuses(func(to string) error {
		mu.Lock()
		tries[to]++
		n := tries[to]
		mu.Unlock()
		if n > 1 {
			<-release
		}
		if n == 1 && strings.HasPrefix(to, "full") {
			return later
		}
		return nil
	})
	failing, well := notice("acme", failure.NoticeWarning), notice("umbra", failure.NoticeWarning)
	r := w.start()
	w.raise(failing)
	testkit.Eventually(t, patience, func() error {
		mu.Lock()
		defer mu.Unlock()
		again := 0
		for _, n := range tries {
			again += n - 1
		}
		if len(tries) != 11 || again != maxAgain {
			return fmt.Errorf("%d were tried, %d again", len(tries), again)
		}
		return nil
	})
	w.raise(well)
	testkit.Eventually(t, mailTime/4, func() error {
		if got := w.office.all(); len(got) != 1 || got[0] != well.ID+" b@example.com" {
			return fmt.Errorf("mails %v", got)
		}
		return nil
	})
	if n := r.metric(t, "doorstep_notifier_mails_waiting"); n < 11 {
		t.Errorf("%v waiting", n)
	}
	close(release)
	w.office.await(t, 12)
	w.ended()
}

func TestTheMailServerIsAwayAndComesBack(t *testing.T) {
	for name, fail := range map[string]func(*testkit.Proxy){"refuses connections": (*testkit.Proxy).Cut, "resets them": (*testkit.Proxy).Reset} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			proxy := testkit.NewProxy(t, w.office.addr)
			w.cfg.Mail.URL = "smtp://" + proxy.Addr
			w.administrator("acme", "a@example.com")
			fail(proxy)
			r := w.start()
			n := notice("acme", failure.NoticeDisabled)
			w.raise(n)
			testkit.Eventually(t, patience, func() error {
				if n := r.metric(t, "doorstep_notifier_retries_total"); n < 3 {
					return fmt.Errorf("%v retries", n)
				}
				return nil
			})
			if r.metric(t, "doorstep_notifier_oldest_waiting_seconds") <= 0 || r.Ready() != nil {
				t.Errorf("nothing waits, or not ready: %v", r.Ready())
			}
			proxy.Heal()
			if got := w.office.await(t, 1); got[0] != n.ID+" a@example.com" {
				t.Errorf("mails %v", got)
			}
			w.ended()
		})
	}
}

func TestFailedForGood(t *testing.T) {
	for name, tt := range map[string]struct {
		with   error
		giveUp time.Duration
		why    string
	}{
		"refused for good": {forGood, 72 * time.Hour, "550"},
		"given up":         {later, 5 * time.Second, "given up after"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cfg.GiveUp = tt.giveUp
			w.administrator("acme", "gone@example.com")
			w.administrator("acme", "a@example.com")
			w.office.refuses(refusing("gone@example.com", tt.with))
			static := func(c *Config) { c.Instance = "notifier-0" }
			r := w.start(static)
			n := notice("acme", failure.NoticeWarning)
			w.raise(n)
			w.ended()
			records := w.mailed()
			failed, sent := records[n.ID+" gone@example.com"], records[n.ID+" a@example.com"]
			if failed.MailResult != failure.MailFailed || !strings.Contains(failed.MailError, tt.why) || failed.MailText == "" ||
				strings.Contains(failed.MailError, "gone@example.com") {
				t.Errorf("the one that failed: %+v", failed)
			}
			if sent.MailResult != failure.MailSent || len(records) != 2 {
				t.Errorf("%d records, the one that was sent: %+v", len(records), sent)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			w.office.refuses(nil)
			w.start(static)
			w.raise(n)
			w.ended()
			if got := w.office.all(); len(got) != 1 {
				t.Errorf("mails %v", got)
			}
		})
	}
}

func TestWithoutAMailServerMailsAreKept(t *testing.T) {
	w := newWorld(t)
	w.cfg.Mail.URL = ""
	w.administrator("acme", "a@example.com")
	r := w.start()
	n := notice("acme", failure.NoticeDisabled)
	w.raise(n)
	w.ended()
	if record := w.mailed()[n.ID+" a@example.com"]; record.MailResult != failure.MailKept || record.MailText == "" || record.MailSubject == "" {
		t.Errorf("record %+v", record)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.cfg.Mail.URL = "smtp://" + w.office.addr
	w.start()
	w.raise(n)
	w.ended()
	if got := w.office.all(); len(got) != 0 {
		t.Errorf("what was kept is sent: %v", got)
	}
}
