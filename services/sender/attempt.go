package sender

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/post"
	"github.com/doorstep-dev/doorstep/pkg/retry"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/pkg/trace"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// lookup is what the dispatcher judges by.
func (s *Service) lookup(d *delivery.Delivery) (w *webhook.Webhook, state failure.State, caughtUp bool) {
	if p := d.WebhookPosition; p != (delivery.Position{}) && !s.webhooks.Applied(p) {
		return nil, state, false
	}
	if w = s.webhooks.Lookup(d.WebhookID); w != nil {
		state = s.keeper.peek(w)
	}
	return w, state, true
}

// attempt has the attempt of a begun record made by a worker.
func (s *Service) attempt(h *held) {
	s.running.Add(1)
	s.workers.start(h)
}

// makeAttempt makes the attempt of a begun record, and returns the next to be made.
func (s *Service) makeAttempt(h *held) *held {
	now := s.now() // before the state is read: nothing starts after a disable is in force
	w := s.webhooks.Lookup(h.delivery.WebhookID)
	var e *entry
	var state failure.State
	if w != nil {
		e = s.keeper.load(s.work, w, h.part.ID, h.part.Gone)
		state = e.at(w.Generation)
	}
	var next *held
	if f, reason := judge(&h.delivery, w, state, now); f != send {
		next = s.dispatcher.released(h, now)
		s.settle(h, f, reason, state.DisabledUntil)
	} else {
		next = s.deliver(h, w, e, now)
	}
	if next == nil {
		s.running.Done()
	}
	return next
}

// deliver makes one POST and ends the record with what comes of it. It returns the next record whose attempt is to be made.
func (s *Service) deliver(h *held, w *webhook.Webhook, e *entry, started time.Time) (next *held) {
	d := &h.delivery
	secrets, err := s.signers.of(w, started)
	if err != nil {
		return s.unreadable(h, w, err, started)
	}
	treatment := treat(w, s.settings.Tenant(w.Tenant))
	span := s.cfg.Trace.Attempt(d, w.URL, started)
	outcome := s.send(w, d, secrets, started, treatment.timeout, span.Context())
	ended := s.now()

	switch outcome.ErrorCode {
	case post.CodeCancelled: // the stop's patience ended; the next owner tries again
		span.End(outcome.ErrorCode)
		next = s.dispatcher.released(h, ended)
		h.part.GiveUp()
		return next
	case post.CodeLocal: // not the receiver's fault: no try is used
		span.End(outcome.ErrorCode)
		s.log.Warn("attempt not made", "delivery", d.ID, "webhook", w.ID, "trace_id", trace.ID(d.TraceContext), "error", outcome.Error)
		next = s.dispatcher.failed(h, ended.Sub(started), ended)
		s.settle(h, parkIt, "", time.Time{})
		return next
	}

	if !treatment.keepAnswers {
		outcome.ResponseHeaders, outcome.ResponseBody = nil, nil
	}
	step := after(s.schedule, h.next(), outcome, treatment.retryCount, ended)
	a := attemptOf(h, w, outcome, step, started, ended, s.cfg.Instance)
	r := s.receipt(h)
	if d.Cause != delivery.CauseTest { // which says nothing of what the webhook is for
		s.keeper.record(s.work, e, s.generation(w), failure.OutcomeOf(a), r)
	}
	next = s.dispatcher.finished(h, ended.Sub(started), outcome.OK(), ended)
	s.write(r, func() (*kgo.Record, error) { return wire.Attempt(s.topics.Attempts, a) })
	if step.Status == delivery.Retrying {
		s.write(r, func() (*kgo.Record, error) { return s.retryRecord(step, ended) })
	}
	r.close()
	s.metrics.observe(a)
	logAttempt(s.log, a)
	span.Attempted(&a)
	return next
}

// generation is the webhook's as it is now: an attempt that it was raised under counts no more.
func (s *Service) generation(w *webhook.Webhook) uint64 {
	if now := s.webhooks.Lookup(w.ID); now != nil {
		return now.Generation
	}
	return w.Generation
}

// unreadable parks a delivery whose webhook's secrets cannot be read here. That is no fault of the receiver: no try is
// used, nothing counts as a failure, and it is tried again until the key is there or the secret is replaced.
func (s *Service) unreadable(h *held, w *webhook.Webhook, why error, started time.Time) (next *held) {
	now := s.now()
	s.metrics.secretsUnreadable.Inc()
	if s.signers.tell(w.ID, now) {
		s.log.Error("a webhook's secrets cannot be read, its deliveries wait; give this sender the sealing key, or replace what is unreadable",
			"webhook", w.ID, "tenant", w.Tenant, "error", why)
	}
	next = s.dispatcher.failed(h, now.Sub(started), now)
	s.settle(h, parkIt, "", time.Time{})
	return next
}

// send signs and POSTs.
func (s *Service) send(w *webhook.Webhook, d *delivery.Delivery, secrets prepared, at time.Time, timeout time.Duration, traceparent string) delivery.Outcome {
	header := make([]delivery.Header, 0, len(secrets.headers)+7)
	header = append(header, secrets.headers...)
	header = append(header,
		delivery.Header{Name: delivery.HeaderEventType, Value: d.EventType},
		delivery.Header{Name: delivery.HeaderEventID, Value: d.EventID},
		delivery.Header{Name: signature.HeaderID, Value: d.ID},
		delivery.Header{Name: signature.HeaderTimestamp, Value: signature.Timestamp(at)})
	if d.Cause == delivery.CauseTest {
		header = append(header, delivery.Header{Name: delivery.HeaderTest, Value: "true"})
	}
	if s.cfg.Traceparent && traceparent != "" {
		header = append(header, delivery.Header{Name: trace.Header, Value: traceparent})
	}
	if sig := secrets.signer.Sign(d.ID, at, d.Body); sig != "" {
		header = append(header, delivery.Header{Name: signature.HeaderSignature, Value: sig})
	}
	return s.post.Post(s.work, post.Request{URL: w.URL, Header: header, Body: d.Body, ContentType: d.ContentType, Timeout: timeout})
}

// retryRecord is the record that makes the next attempt.
func (s *Service) retryRecord(step retry.Step, now time.Time) (*kgo.Record, error) {
	if step.Tier == 0 {
		topic, d := parkedUntil(step.Delivery, step.NextAttemptAt, s.topics, now)
		return wire.Delivery(topic, d)
	}
	topic, err := s.topics.Tier(step.Tier)
	if err != nil {
		return nil, err
	}
	return wire.Delivery(topic, step.Delivery)
}

// attemptOf is what the log says of an attempt.
func attemptOf(h *held, w *webhook.Webhook, o delivery.Outcome, step retry.Step, started, ended time.Time, instance string) delivery.Attempt {
	a := fact(h, delivery.KindPost, step.Status)
	a.WebhookGeneration, a.Instance = w.Generation, instance
	a.StartedAt, a.FinishedAt = started, ended
	a.Outcome, a.NextAttemptAt = o, step.NextAttemptAt
	return a
}

// fact is what every record on `attempts` says of a delivery.
func fact(h *held, kind delivery.Kind, status delivery.Status) delivery.Attempt {
	d := &h.delivery
	return delivery.Attempt{
		Kind: kind, Status: status, DeliveryID: d.ID, RunID: d.RunID, Cause: d.Cause, Attempt: d.Attempt,
		Tenant: d.Tenant, WebhookID: d.WebhookID, EventID: d.EventID, EventType: d.EventType,
		Lane: h.part.Topic, ReceivedAt: d.ReceivedAt, DueAt: d.DueAt, Position: h.payloadPosition(), TraceContext: d.TraceContext,
	}
}

// settle ends a begun record without an attempt.
func (s *Service) settle(h *held, f fate, reason delivery.SuspendReason, until time.Time) {
	now := s.now()
	r := s.receipt(h)
	if f == suspend {
		s.catchUp(h, r)
	}
	s.write(r, func() (*kgo.Record, error) {
		d := h.next()
		switch {
		case h.err != nil:
			return s.quarantine.Record(h.record, h.err)
		case f == cancel:
			a := fact(h, delivery.KindDecision, delivery.Cancelled)
			a.StartedAt, a.FinishedAt, a.Instance = now, now, s.cfg.Instance
			a.Outcome.ErrorCode, a.Outcome.Error = "webhook_deleted", "the webhook was deleted before this was delivered; register it anew if it is still wanted"
			return wire.Attempt(s.topics.Attempts, a)
		case f == suspend:
			d.SuspendReason, d.SuspendedAt = reason, now
			return wire.Delivery(s.topics.Suspended, d)
		case f == putOff:
			topic, d, err := waiting(d, until, s.schedule, s.topics, now)
			if err != nil {
				return nil, err
			}
			return wire.Delivery(topic, d)
		case f == parkIt:
			topic, d := parked(d, s.topics, now)
			return wire.Delivery(topic, d)
		}
		return nil, fmt.Errorf("no record for fate %d", f)
	})
	r.close()
	if h.err == nil {
		s.metrics.settled(f)
		s.logSettled(h, f, reason)
	}
}

// catchUp makes r wait for what is left to tell of a webhook that a delivery is suspended for: who disabled it may
// have died before its notice was written, and no attempt comes any more that would look after that.
func (s *Service) catchUp(h *held, r *receipt) {
	w := s.webhooks.Lookup(h.delivery.WebhookID)
	if w == nil || s.keeper.quiet(w.ID) {
		return
	}
	r.open.Add(1)
	s.running.Go(func() {
		s.keeper.catchUp(s.keeper.load(s.work, w, h.part.ID, h.part.Gone), r)
		r.acknowledge(nil)
	})
}

// receipt ends a begun record once everything written under it is acknowledged.
func (s *Service) receipt(h *held) *receipt {
	return newReceipt(func(ok bool) {
		if !ok {
			h.part.GiveUp()
		} else if h.part.Done(h.offset) {
			s.dispatcher.signal()
		}
	})
}

// write writes a record under a receipt. One that cannot be made leaves the record undone, to be
// read again after a restart: nothing is lost silently.
func (s *Service) write(r *receipt, encode func() (*kgo.Record, error)) {
	record, err := encode()
	if err != nil {
		s.log.Error("record not written", "error", err)
		r.fail()
		return
	}
	r.write(s.lanes, record)
}
