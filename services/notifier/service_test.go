package notifier

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
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

// What has ended is known before anything is mailed, however far behind its notice it stands.
func TestNothingIsMailedBeforeAllIsRead(t *testing.T) {
	w := newWorld(t)
	a := w.administrator("acme", "a@example.com")
	n := notice("acme", failure.NoticeWarning)
	w.raise(n)
	var records []*kgo.Record
	for i := range 10 * kafka.MaxPoll {
		record := n
		record.Kind, record.NoticeID, record.AdministratorID = failure.NoticeMailed, fmt.Sprint(i), a.ID
		if i == 10*kafka.MaxPoll-1 {
			record.NoticeID = n.ID
		}
		record.ID = failure.MailedID(record.NoticeID, a.ID)
		r, err := wire.Notice(w.topics.Notices, record)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if err := w.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.ended()
	if got := w.office.all(); len(got) != 0 {
		t.Errorf("mails %v", got)
	}
}

func TestAPartitionThatIsEmptiedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.raise(notice("acme", failure.NoticeWarning), notice("acme", failure.NoticeWarning), notice("acme", failure.NoticeWarning))
	admin := kadm.NewClient(w.client)
	ends, err := admin.ListEndOffsets(t.Context(), w.topics.Notices)
	if err != nil {
		t.Fatal(err)
	}
	if deleted, err := admin.DeleteRecords(t.Context(), ends.Offsets()); err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	w.start()
	n := notice("acme", failure.NoticeWarning)
	w.raise(n)
	if got := w.office.await(t, 1); len(got) != 1 || got[0] != n.ID+" a@example.com" {
		t.Errorf("mails %v", got)
	}
}

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

// The log refuses what came of a mail: the record is tried again, the mail is not.
func TestTheLogRefusesARecord(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{
		"default.replication.factor": "1", "group.initial.rebalance.delay.ms": "0",
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := newWorld(t, c.ListenAddrs()...)
	w.administrator("acme", "a@example.com")
	w.start()
	n := notice("acme", failure.NoticeDisabled)
	w.raise(n)
	var refused atomic.Int32
	w.office.onTaken(func(received) {
		c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			if refused.Add(1) > 2 {
				return nil, nil, false
			}
			c.KeepControl()
			return refusal(req.(*kmsg.ProduceRequest)), nil, true
		})
	})
	w.office.await(t, 1)
	w.ended()
	if record := w.mailed()[n.ID+" a@example.com"]; record.MailResult != failure.MailSent || refused.Load() < 2 {
		t.Errorf("record %+v after %d refusals", record, refused.Load())
	}
	if got := w.office.all(); len(got) != 1 {
		t.Errorf("mails %v", got)
	}
}

// refusal answers that the records are not valid, which no client tries again by itself.
func refusal(req *kmsg.ProduceRequest) *kmsg.ProduceResponse {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			answer := kmsg.NewProduceResponseTopicPartition()
			answer.Partition, answer.ErrorCode = p.Partition, kerr.InvalidRecord.Code
			topic.Partitions = append(topic.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
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
		"given up":         {later, 2 * time.Second, "given up after"},
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
	w.office.refuses(func(string) error { return later })
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

func TestUnreadableRecordsAreQuarantinedOnce(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.write(&kgo.Record{Topic: w.topics.Notices, Key: []byte("w"), Value: []byte("nonsense")}, nil)
	unknown, err := wire.Notice(w.topics.Notices, notice("acme", "of a newer program"))
	w.write(unknown, err)
	n := notice("acme", failure.NoticeWarning)
	r := w.start()
	w.raise(n)
	w.ended()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = w.start()
	w.raise(n)
	w.ended()
	if got := w.office.all(); len(got) != 1 || r.metric(t, "doorstep_quarantined_total") != 0 {
		t.Errorf("mails %v, quarantined again: %v", got, r.metric(t, "doorstep_quarantined_total"))
	}
	ends, err := kadm.NewClient(w.client).ListEndOffsets(t.Context(), w.topics.Quarantine)
	if err != nil {
		t.Fatal(err)
	}
	kept := int64(0)
	ends.Each(func(o kadm.ListedOffset) { kept += o.Offset })
	if kept != 1 {
		t.Errorf("%d records in quarantine", kept)
	}
}

// Notices that come in transactions count once these end, and their markers hold up nothing.
func TestNoticesInTransactions(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	writer, err := w.cfg.Kafka.NewClient("writer", slog.New(slog.DiscardHandler), kgo.TransactionalID(w.cfg.Kafka.TopicPrefix+"writer"))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	var committed failure.Notice
	write := func(end kgo.TransactionEndTry) {
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		committed = notice("acme", failure.NoticeExpiry)
		r, err := wire.Notice(w.topics.Notices, committed)
		if err != nil {
			t.Fatal(err)
		}
		writer.Produce(t.Context(), r, nil)
		if err := errors.Join(writer.Flush(t.Context()), writer.EndTransaction(t.Context(), end)); err != nil {
			t.Fatal(err)
		}
	}
	write(kgo.TryAbort)
	r := w.start() // its partition ends with a marker
	write(kgo.TryAbort)
	write(kgo.TryCommit)
	w.office.await(t, 1)
	w.ended()
	if diff := cmp.Diff([]string{committed.ID + " a@example.com"}, w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.start()
}

// Once partitions are added, a webhook's key belongs elsewhere; its records stay where its notice is.
func TestMorePartitions(t *testing.T) {
	w := newWorld(t)
	w.administrator("acme", "a@example.com")
	w.office.refuses(func(string) error { return later })
	r := w.start()
	var want []string
	for range 8 {
		n := notice("acme", failure.NoticeWarning)
		w.raise(n)
		want = append(want, n.ID+" a@example.com")
	}
	if _, err := kadm.NewClient(w.client).UpdatePartitions(t.Context(), 3*partitions, w.topics.Notices); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.office.refuses(nil)
	r = w.start()
	w.office.await(t, len(want))
	w.ended()
	w.mailed() // which looks at their partitions
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	testkit.DeleteKeys(t, w.cfg.Redis.URL, w.cfg.Redis.Prefix)
	w.start()
	if diff := cmp.Diff(pairs(want...), w.office.all()); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
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
