package notifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	patience   = 30 * time.Second
	partitions = 4
)

// world is a log, a Redis and a mail server around notifiers.
type world struct {
	t      *testing.T
	cfg    Config
	topics wire.Topics
	client *kgo.Client
	office *office
}

// newWorld has short waits after failed tries. The log is testkit's where no brokers are given.
func newWorld(t *testing.T, brokers ...string) *world {
	t.Helper()
	prefix := testkit.Prefix(t) // first, so that what is under it goes last
	if brokers == nil {
		brokers = testkit.Broker(t)
	}
	w := &world{t: t, office: newOffice(t)}
	w.cfg = Config{
		Kafka:        kafka.Config{Brokers: brokers, TopicPrefix: prefix, RetryTiers: "1m"},
		Redis:        redisstate.Config{URL: testkit.Redis(t), Prefix: prefix, Timeout: 5 * time.Second},
		Mail:         mail.Config{URL: "smtp://" + w.office.addr, From: "doorstep@example.com"},
		DisableAfter: 500, ConsoleURL: "http://console.example.com",
		Waits: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond},
	}
	var err error
	if w.topics, err = w.cfg.Kafka.Topics(); err != nil {
		t.Fatal(err)
	}
	if w.client, err = w.cfg.Kafka.NewClient("test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	if err := kafka.Apply(t.Context(), kadm.NewClient(w.client), w.topics, kafka.TopicOptions{Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	return w
}

// run is a notifier under way.
type run struct {
	*Service
	metrics *prometheus.Registry
	cancel  func() // begins a stop
	stop    func() error
}

// begin runs a notifier that need not become ready.
func (w *world) begin(change ...func(*Config)) *run {
	w.t.Helper()
	r := &run{metrics: prometheus.NewRegistry()}
	out := io.Discard
	if testing.Verbose() {
		out = w.t.Output()
	}
	cfg := w.cfg
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if r.Service, err = New(cfg, slog.New(slog.NewTextHandler(out, nil)), r.metrics); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended error
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended = r.Run(ctx)
	}()
	r.cancel = cancel
	r.stop = func() error {
		cancel()
		<-done
		return ended
	}
	w.t.Cleanup(func() {
		if err := r.stop(); err != nil && !errors.Is(err, kgo.ErrClientClosed) { // as kill closes it
			w.t.Error(err)
		}
	})
	return r
}

func (w *world) start(change ...func(*Config)) *run {
	w.t.Helper()
	r := w.begin(change...)
	testkit.Eventually(w.t, patience, r.Ready)
	return r
}

// kill ends a notifier so that it can tell nobody any more of what it does.
func (r *run) kill() {
	r.endLife()
	_ = r.redis.Close()
	r.cancel()
}

// metric is the value of a metric, its labels added up.
func (r *run) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// write writes a record to the log.
func (w *world) write(r *kgo.Record, err error) {
	w.t.Helper()
	if err == nil {
		err = w.client.ProduceSync(w.t.Context(), r).FirstErr()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// administrator adds one to a tenant, an hour old.
func (w *world) administrator(of, email string, change ...func(*tenant.Administrator)) tenant.Administrator {
	w.t.Helper()
	a := tenant.Administrator{
		ID: uuid.NewString(), Tenant: of, Email: email, Language: "en", Version: 1, CreatedAt: time.Now().Add(-time.Hour).UTC(),
	}
	for _, c := range change {
		c(&a)
	}
	w.write(wire.Administrator(w.topics.Settings, a))
	return a
}

// notice is one of a webhook, raised now, and not written yet.
func notice(of string, kind failure.NoticeKind, change ...func(*failure.Notice)) failure.Notice {
	now := time.Now().UTC()
	n := failure.Notice{
		ID: uuid.NewString(), Kind: kind, Tenant: of, WebhookID: uuid.NewString(), Generation: 1, FailStreak: 250,
		FailStreakStartedAt: now.Add(-time.Hour), RaisedAt: now, LastStatusCode: 500, LastError: "the receiver answered 500",
	}
	if kind == failure.NoticeExpiry {
		n.Expiring, n.ExpiresAt = 3, now.Add(7*24*time.Hour)
	}
	for _, c := range change {
		c(&n)
	}
	return n
}

// raise writes notices.
func (w *world) raise(notices ...failure.Notice) {
	w.t.Helper()
	for _, n := range notices {
		w.write(wire.Notice(w.topics.Notices, n))
	}
}

// ended waits until the group has committed all that stands in the topic.
func (w *world) ended() {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() error {
		_, behind, err := kafka.NewAdmin(w.client).Committed(w.t.Context(), w.cfg.groupName(), w.topics.Notices)
		if err == nil && behind != 0 {
			err = fmt.Errorf("%d records are not done", behind)
		}
		return err
	})
}

// mailed are the records of mails that have ended, by notice and address.
func (w *world) mailed() map[string]failure.Notice {
	w.t.Helper()
	ends, err := kadm.NewClient(w.client).ListCommittedOffsets(w.t.Context(), w.topics.Notices)
	if err = errors.Join(err, ends.Error()); err != nil {
		w.t.Fatal(err)
	}
	var spans []kafka.Span
	ends.Each(func(o kadm.ListedOffset) {
		spans = append(spans, kafka.Span{Topic: o.Topic, Partition: o.Partition, To: o.Offset})
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	out := map[string]failure.Notice{}
	at := map[string]int32{} // partitions of notices
	err = w.cfg.Kafka.Scan(ctx, "reader", slog.New(slog.DiscardHandler), spans, 100, func(records []*kgo.Record) error {
		for _, r := range records {
			n, err := wire.ReadNotice(r)
			if err != nil {
				continue // as a test wrote it
			}
			if n.Kind != failure.NoticeMailed {
				at[n.ID] = r.Partition
				continue
			}
			if p, known := at[n.NoticeID]; !known || p != r.Partition {
				return fmt.Errorf("mailed record in partition %d, its notice in %d (%t)", r.Partition, p, known)
			}
			if n.ID != failure.MailedID(n.NoticeID, n.AdministratorID) {
				return fmt.Errorf("mailed record with id %s", n.ID)
			}
			key := n.NoticeID + " " + n.MailTo
			if was, again := out[key]; again {
				return fmt.Errorf("recorded twice: %+v, %+v", was, n)
			}
			out[key] = n
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// office is a mail server in this process.
type office struct {
	addr string

	mu     sync.Mutex
	mails  []received
	refuse func(to string) error // what a recipient is answered; nil: nobody is refused
	taken  func(received)        // called before the server answers that it has a mail
}

type received struct {
	to, id, notice, subject string // notice is from id
	body                    string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{office: o}, nil }))
	server.Domain, server.ErrorLog = "localhost", log.New(io.Discard, "", 0)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return o
}

// refuses says what recipients are answered from now on.
func (o *office) refuses(f func(to string) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse = f
}

// onTaken is called for every mail from now on, before the server says that it has it.
func (o *office) onTaken(f func(received)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = f
}

// all are the mails that came, sorted, as "notice to".
func (o *office) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []string
	for _, m := range o.mails {
		all = append(all, m.notice+" "+m.to)
	}
	slices.Sort(all)
	return all
}

// await waits for n mails and returns them as all does.
func (o *office) await(t *testing.T, n int) []string {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := o.all(); len(got) < n {
			return fmt.Errorf("%d mails of %d", len(got), n)
		}
		return nil
	})
	return o.all()
}

type session struct {
	office *office
	to     string
}

func (s *session) Reset()                               { s.to = "" }
func (s *session) Logout() error                        { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.office.mu.Lock()
	refuse := s.office.refuse
	s.office.mu.Unlock()
	if refuse != nil {
		if err := refuse(to); err != nil {
			return err
		}
	}
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	m, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	got := received{to: s.to, id: m.Header.Get("Message-Id"), subject: m.Header.Get("Subject"), body: string(body)}
	got.notice, _, _ = strings.Cut(strings.Trim(got.id, "<>"), ".")
	s.office.mu.Lock()
	s.office.mails = append(s.office.mails, got)
	taken := s.office.taken
	s.office.mu.Unlock()
	if taken != nil {
		taken(got)
	}
	return nil
}

var (
	later   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "not now"}
	forGood = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
)

// refusing refuses one recipient.
func refusing(who string, with error) func(string) error {
	return func(to string) error {
		if to == who {
			return with
		}
		return nil
	}
}

// hook is the record of a notice's webhook.
func (w *world) hook(n failure.Notice, change ...func(*webhook.Webhook)) {
	w.t.Helper()
	h := webhook.Webhook{
		ID: n.WebhookID, Tenant: n.Tenant, Name: "Orders", URL: "https://receiver.example.com/in", Active: true,
		Generation: n.Generation, Version: 1,
	}
	for _, c := range change {
		c(&h)
	}
	w.write(wire.Webhook(w.topics.Webhooks, h))
}
