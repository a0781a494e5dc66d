package notifier

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestMailServerAndLogAwayAtOnce: while neither answers, for longer than the group waits for a member, nothing piles up;
// when both are back every mail is sent, and none twice.
func TestMailServerAndLogAwayAtOnce(t *testing.T) {
	for name, fail := range map[string]func(*testkit.Proxy){"refusing": (*testkit.Proxy).Cut, "hanging": (*testkit.Proxy).Hang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const notices = 40
			brokers, network := testkit.BrokerBehind(t)
			w := newWorld(t, brokers...)
			smtp := testkit.NewProxy(t, w.office.addr)
			w.cfg.Mail.URL = "smtp://" + smtp.Addr
			w.administrator("acme", "a@example.com")
			fail(smtp)
			r := w.start()
			want := map[string]bool{}
			for range notices {
				n := notice("acme", failure.NoticeWarning)
				want[n.ID+" a@example.com"] = true
				w.raise(n)
			}
			testkit.Eventually(t, patience, func() error {
				if n := r.metric(t, "doorstep_notifier_mails_waiting"); n != notices {
					return fmt.Errorf("%v wait", n)
				}
				return nil
			})
			before := runtime.NumGoroutine()
			fail(network)
			away := time.Now()
			testkit.Eventually(t, patience, func() error {
				if n := runtime.NumGoroutine(); n > before+200 {
					t.Fatalf("%d goroutines, there were %d", n, before)
				}
				if took := time.Since(away); took < kafka.SessionTimeout+2*time.Second {
					return fmt.Errorf("away for %s", took)
				}
				return nil
			})
			network.Heal()
			smtp.Heal()
			got := map[string]int{}
			testkit.Eventually(t, 2*patience, func() error {
				clear(got)
				for _, m := range w.office.all() {
					got[m]++
				}
				if len(got) != notices {
					return fmt.Errorf("%d of %d mails", len(got), notices)
				}
				return nil
			})
			w.ended()
			for _, m := range w.office.all() {
				if !want[m] {
					t.Errorf("mail %s was not asked for", m)
				}
			}
			if all := len(w.office.all()); all != notices {
				t.Errorf("%d mails of %d notices", all, notices)
			}
			testkit.Eventually(t, patience, r.Ready)
		})
	}
}
