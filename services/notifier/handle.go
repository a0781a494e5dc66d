package notifier

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/mail"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	// leaseWait is how long a mail waits that another notifier is sending.
	leaseWait = 5 * time.Second
	// writeAgain is how long the record of a mail waits that the log refused.
	writeAgain = time.Second
)

// fate is what came of handling a letter.
type fate struct {
	result failure.MailResult // empty: it has not ended
	why    string             // of a mail that failed
	again  time.Time          // of one that has not ended; zero: another life must see to it
	mail   mail.Message
	noted  bool // Redis has the result
}

// handle handles one letter that was begun.
func (s *Service) handle(l *letter) {
	a, wanted := s.addressee(l)
	if !wanted {
		s.desk.finish(l, s.now())
		return
	}
	f := s.try(l, a)
	if f.result == "" {
		s.postpone(l, f.again)
		return
	}
	if !f.noted {
		if err := s.mailed.End(s.life, l.id, f.result); err != nil {
			s.log.Debug("redis does not know that a mail has ended, the log will", "error", err)
		}
	}
	if !s.write(l, a, f) {
		s.postpone(l, time.Time{}) // stopped: Redis knows
		return
	}
	s.metrics.mails.WithLabelValues(string(f.result), string(l.entry.notice.Kind)).Inc()
	s.desk.finish(l, s.now())
}

// addressee is the administrator as he is now; false: he is gone, or wants such notices no longer.
func (s *Service) addressee(l *letter) (tenant.Administrator, bool) {
	n := l.entry.notice
	all := s.settings.Administrators(n.Tenant)
	i := slices.IndexFunc(all, func(a tenant.Administrator) bool { return a.ID == l.administrator })
	if i < 0 || !wants(all[i], n) {
		return tenant.Administrator{}, false
	}
	return all[i], true
}

// postpone puts a letter back; the zero time: for the next owner of its partition.
func (s *Service) postpone(l *letter, until time.Time) {
	if until.IsZero() {
		until = s.now().Add(s.cfg.GiveUp)
	}
	s.desk.putOff(l, until)
}

// try sends a mail, unless it is too late or somebody else has sent it or is at it.
func (s *Service) try(l *letter, a tenant.Administrator) fate {
	ctx, cancel := context.WithTimeout(s.work, mailTime)
	defer cancel()
	m, err := mail.Compose(s.facts(ctx, l, a))
	if err != nil {
		return fate{result: failure.MailFailed, why: err.Error()}
	}
	if !s.now().Before(l.entry.until) {
		return fate{result: failure.MailFailed, mail: m, why: fmt.Sprintf("not sent within %s, and no news any more", s.cfg.GiveUp)}
	}
	lease, err := s.mailed.Take(ctx, l.id)
	switch {
	case err != nil:
		s.log.Debug("redis does not say whether a mail is sent by others, going on", "error", err)
	case lease.Result == failure.MailFailed:
		return fate{result: lease.Result, mail: m, noted: true, why: "failed, as Redis says; why is not known any more"}
	case lease.Result != "":
		return fate{result: lease.Result, mail: m, noted: true}
	case !lease.Taken:
		return fate{again: s.now().Add(leaseWait)}
	}
	if s.sender == nil {
		return fate{result: failure.MailKept, mail: m}
	}
	if err = s.sender.Send(ctx, m); err == nil {
		if s.unsent.Swap(false) {
			s.log.Info("mails are sent again")
		}
		return fate{result: failure.MailSent, mail: m}
	}
	return s.failed(l, m, err)
}

// failed says what follows from a try that failed.
func (s *Service) failed(l *letter, m mail.Message, err error) fate {
	if s.work.Err() != nil {
		return fate{} // it was cut short, and may have been sent: the lease goes on
	}
	l.tries++
	n := l.entry.notice
	v := judge(s.cfg.Waits, l.tries, err, mail.Permanent(err), s.now(), l.entry.until, s.jitter())
	about := []any{"notice", n.ID, "kind", n.Kind, "tenant", n.Tenant, "webhook", n.WebhookID,
		"administrator", l.administrator, "try", l.tries, "error", err}
	if v.over {
		s.log.Error("a mail has failed for good", about...)
		return fate{result: failure.MailFailed, mail: m, why: v.why}
	}
	// A mail server that is away keeps them all waiting.
	s.unsent.Store(true)
	s.seldom.Warn(s.work, s.log, "a mail was not sent, trying again", append(about, "again", v.again)...)
	s.metrics.retries.Inc()
	if err := s.mailed.Release(s.life, l.id); err != nil {
		s.log.Debug("redis keeps the lease of a mail for its time", "error", err)
	}
	return fate{again: v.again}
}

// facts are what a mail tells.
func (s *Service) facts(ctx context.Context, l *letter, a tenant.Administrator) mail.Facts {
	n := l.entry.notice
	f := mail.Facts{
		Notice: n, Tenant: s.settings.Tenant(n.Tenant), Administrator: a, DisableAfter: s.cfg.DisableAfter, ConsoleURL: s.cfg.ConsoleURL,
	}
	f.Webhook, _ = s.webhooks.Get(n.WebhookID)
	if after := f.Tenant.Policy.DisableAfter; after != nil {
		f.DisableAfter = *after
	}
	if n.Kind == failure.NoticeDisabled || n.Kind == failure.NoticeGone {
		var err error
		if f.Suspended, f.SuspendedMore, err = s.suspended(ctx, n.WebhookID, n.RaisedAt); err != nil {
			f.Suspended = -1
			s.log.Warn("a mail does not say how many deliveries are suspended", "notice", n.ID, "error", err)
		}
	}
	return f
}

// write writes what came of a mail until the log has it; false: this notifier stops.
func (s *Service) write(l *letter, a tenant.Administrator, f fate) bool {
	n := l.entry.notice // and what it tells of, for the history
	n.ID, n.Kind, n.NoticeID, n.NoticeKind = l.id, failure.NoticeMailed, n.ID, n.Kind
	n.AdministratorID, n.MailTo, n.MailedAt = a.ID, a.Email, s.now()
	n.MailResult, n.MailError, n.MailSubject, n.MailText = f.result, f.why, f.mail.Subject, f.mail.Text
	r, err := wire.Notice(s.topics.Notices, n)
	if err != nil {
		s.log.Error("what came of a mail cannot be written", "notice", n.NoticeID, "error", err)
		return true
	}
	for {
		again := *r
		again.Partition = l.part.ID
		err := s.lanes.Writer().ProduceSync(s.life, &again).FirstErr()
		if err == nil {
			return true
		}
		if s.life.Err() != nil {
			return false
		}
		s.seldom.Warn(s.life, s.log, "what came of a mail is not written, trying again", "notice", n.NoticeID, "error", err)
		if !pause(s.life, writeAgain) {
			return false
		}
	}
}
