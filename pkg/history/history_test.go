package history_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
)

var (
	t0    = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	id    = delivery.ID("event", "webhook")
	first = delivery.FirstRunID(id)
)

func at(offset int64) delivery.Position {
	return delivery.Position{Topic: "doorstep.deliveries", Offset: offset}
}

func second(run string) string { return "01970000-0000-7000-8000-00000000000" + run }

func pending(run string) history.Delivery {
	return history.FromDelivery(delivery.Delivery{
		ID: id, RunID: run, Attempt: 1, ReceivedAt: t0, ExternalReference: "card-7", WebhookID: "webhook", EventID: "event",
	}, at(3))
}

func suspended(run string, next int) history.Delivery {
	return history.FromDelivery(delivery.Delivery{
		ID: id, RunID: run, Attempt: next, ReceivedAt: t0, ExternalReference: "card-7", WebhookID: "webhook", EventID: "event",
		SuspendReason: delivery.SuspendDisabled, SuspendedAt: t0.Add(time.Minute),
	}, delivery.Position{Topic: "doorstep.deliveries.suspended", Offset: 9})
}

func attempt(run string, kind delivery.Kind, n int, status delivery.Status) history.Delivery {
	_, d, _ := history.FromAttempt(delivery.Attempt{
		Kind: kind, DeliveryID: id, RunID: run, Attempt: n, ReceivedAt: t0, WebhookID: "webhook", EventID: "event",
		Status: status, FinishedAt: t0.Add(time.Duration(n) * time.Second), Position: at(3),
	})
	return d
}

func TestWhatHolds(t *testing.T) {
	post, decision := delivery.KindPost, delivery.KindDecision
	for name, tt := range map[string]struct {
		rows     []history.Delivery
		status   delivery.Status
		attempts int
	}{
		"just matched":                          {[]history.Delivery{pending(first)}, delivery.Pending, 0},
		"an attempt before its delivery":        {[]history.Delivery{attempt(first, post, 1, delivery.Retrying), pending(first)}, delivery.Retrying, 1},
		"an older attempt again":                {[]history.Delivery{attempt(first, post, 2, delivery.Retrying), attempt(first, post, 1, delivery.Retrying)}, delivery.Retrying, 2},
		"suspended when matched":                {[]history.Delivery{suspended(first, 1)}, delivery.Suspended, 0},
		"suspended in a tier":                   {[]history.Delivery{attempt(first, post, 2, delivery.Retrying), suspended(first, 3)}, delivery.Suspended, 2},
		"suspended, and a copy went on":         {[]history.Delivery{suspended(first, 2), attempt(first, post, 2, delivery.Retrying)}, delivery.Retrying, 2},
		"released, and read as suspended again": {[]history.Delivery{attempt(first, decision, 3, delivery.Pending), suspended(first, 3)}, delivery.Pending, 2},
		"discarded, and read again":             {[]history.Delivery{attempt(first, decision, 3, delivery.Discarded), suspended(first, 3)}, delivery.Discarded, 2},
		"delivered, and read again":             {[]history.Delivery{attempt(first, post, 1, delivery.Delivered), pending(first)}, delivery.Delivered, 1},
		"made twice, accepted once":             {[]history.Delivery{attempt(first, post, 4, delivery.Delivered), attempt(first, post, 4, delivery.Exhausted)}, delivery.Delivered, 4},
		"sent again":                            {[]history.Delivery{attempt(first, post, 4, delivery.Exhausted), pending(second("1"))}, delivery.Pending, 0},
		"sent again, then the first run again":  {[]history.Delivery{attempt(second("1"), post, 1, delivery.Retrying), attempt(first, post, 4, delivery.Exhausted)}, delivery.Retrying, 1},
		"sent again twice":                      {[]history.Delivery{attempt(second("2"), post, 1, delivery.Delivered), attempt(second("1"), post, 1, delivery.Exhausted)}, delivery.Delivered, 1},
		"its webhook is gone":                   {[]history.Delivery{pending(first), attempt(first, decision, 1, delivery.Cancelled)}, delivery.Cancelled, 0},
	} {
		got := tt.rows[0]
		for _, r := range tt.rows[1:] {
			got = got.Merge(r)
		}
		if got.Status != tt.status || got.Attempt != tt.attempts {
			t.Errorf("%s: %s after %d attempts, want %s after %d", name, got.Status, got.Attempt, tt.status, tt.attempts)
		}
	}
}

func TestTheReferenceIsKept(t *testing.T) {
	got := attempt(first, delivery.KindPost, 1, delivery.Delivered).Merge(pending(first))
	if got.ExternalReference != "card-7" || got.Status != delivery.Delivered {
		t.Errorf("%+v", got)
	}
}

// rows are what the records of one delivery may say.
func rows(t *rapid.T) history.Delivery {
	run := rapid.SampledFrom([]string{first, second("1"), second("2")}).Draw(t, "run")
	n := rapid.IntRange(1, 5).Draw(t, "attempt")
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return pending(run)
	case 1:
		return suspended(run, n)
	case 2:
		return attempt(run, delivery.KindDecision, n, rapid.SampledFrom([]delivery.Status{
			delivery.Pending, delivery.Cancelled, delivery.Discarded,
		}).Draw(t, "status"))
	default:
		return attempt(run, delivery.KindPost, n, rapid.SampledFrom([]delivery.Status{
			delivery.Retrying, delivery.Delivered, delivery.Exhausted,
		}).Draw(t, "status"))
	}
}

// In any order and however often records come, they make the same row.
func TestMergeIsAJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := rows(t), rows(t), rows(t)
		for name, pair := range map[string][2]history.Delivery{
			"commutative": {a.Merge(b), b.Merge(a)},
			"associative": {a.Merge(b).Merge(c), a.Merge(b.Merge(c))},
			"idempotent":  {a.Merge(b), a.Merge(b).Merge(b)},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("not %s: %s", name, diff)
			}
		}
		if both := a.Merge(b); !both.Covers(a) || !both.Covers(b) {
			t.Error("a merged row does not cover what it was made of")
		}
	})
}

func TestBatchHoldsOneRowOfEach(t *testing.T) {
	var b history.Batch
	if !b.Empty() {
		t.Error("a new batch is not empty")
	}
	post := delivery.Attempt{
		Kind: delivery.KindPost, DeliveryID: id, RunID: first, Attempt: 1, ReceivedAt: t0, WebhookID: "webhook", Status: delivery.Retrying,
		StartedAt: t0, FinishedAt: t0.Add(time.Second), Outcome: delivery.Outcome{StatusCode: 500, ErrorCode: "status"},
	}
	b.AddAttempt(post)
	b.AddAttempt(post)
	post.Attempt, post.StartedAt, post.FinishedAt = 2, t0.Add(time.Minute), t0.Add(time.Minute+time.Second)
	post.Status, post.Outcome = delivery.Delivered, delivery.Outcome{StatusCode: 204}
	b.AddAttempt(post)
	post.StartedAt = t0.Add(2 * time.Minute) // repeated after a crash
	b.AddAttempt(post)
	b.AddDelivery(delivery.Delivery{ID: id, RunID: first, Attempt: 1, ReceivedAt: t0, WebhookID: "webhook"}, at(3))
	if len(b.Attempts) != 3 || len(b.Deliveries) != 1 {
		t.Errorf("%d attempts and %d deliveries, want 3 and 1", len(b.Attempts), len(b.Deliveries))
	}
	want := history.Activity{WebhookID: "webhook", LastTriggeredAt: t0.Add(2 * time.Minute), LastSuccessAt: t0.Add(time.Minute + time.Second)}
	if got := b.Activities["webhook"]; got != want {
		t.Errorf("activity %+v, want %+v", got, want)
	}
	if b.Empty() {
		t.Error("it says that it is empty")
	}
}

// What the matcher says of an event has no delivery; it still has one row, whichever record is read first.
func TestWhatTheMatcherSays(t *testing.T) {
	capped := delivery.Attempt{Kind: delivery.KindCapped, EventID: "event", ReceivedAt: t0, Status: delivery.Capped, Count: 7}
	a, d, changes := history.FromAttempt(capped)
	if !changes || d.Status != delivery.Capped || d.ID == "" || d.ID != a.DeliveryID || d.WebhookID != "" {
		t.Errorf("capped: %+v of %+v", d, a)
	}
	failed := delivery.Attempt{Kind: delivery.KindConditionError, EventID: "event", WebhookID: "webhook", ReceivedAt: t0}
	if a, _, changes = history.FromAttempt(failed); changes || fmt.Sprint(a.DeliveryID) != id {
		t.Errorf("condition error: %+v", a)
	}
}

// What comes again after a crash may say another time: one of both holds, in whatever order they come.
func TestWhatComesAgainOtherwise(t *testing.T) {
	capped := func(tenant string, received, at int) func(*history.Batch) {
		return func(b *history.Batch) {
			b.AddAttempt(delivery.Attempt{
				Kind: delivery.KindCapped, Tenant: tenant, EventID: "event", Status: delivery.Capped,
				ReceivedAt: t0.Add(time.Duration(received) * time.Second), FinishedAt: t0.Add(time.Duration(at) * time.Minute),
			})
		}
	}
	raised := func(streak int) func(*history.Batch) {
		return func(b *history.Batch) {
			b.AddNotice(failure.Notice{ID: "n", FailStreak: streak, RaisedAt: t0.Add(time.Duration(streak) * time.Second)})
		}
	}
	unreadable := func(reader string, minute int) func(*history.Batch) {
		return func(b *history.Batch) {
			b.AddQuarantined(history.Quarantined{Position: at(3), Reader: reader, Reason: "no", At: t0.Add(time.Duration(minute) * time.Minute)})
		}
	}
	for name, tt := range map[string]struct {
		a, b func(*history.Batch)
		rows func(history.Batch) int
		want int
	}{
		"capped twice":                      {capped("acme", 0, 1), capped("acme", 0, 2), func(b history.Batch) int { return len(b.Attempts) }, 1},
		"one id of two tenants":             {capped("acme", 0, 1), capped("globex", 5, 1), func(b history.Batch) int { return len(b.Attempts) }, 2},
		"raised again":                      {raised(250), raised(251), func(b history.Batch) int { return len(b.Notices) }, 1},
		"quarantined twice":                 {unreadable("sender", 1), unreadable("sender", 2), func(b history.Batch) int { return len(b.Quarantined) }, 1},
		"quarantined by two of its readers": {unreadable("sender", 1), unreadable("recorder", 1), func(b history.Batch) int { return len(b.Quarantined) }, 2},
	} {
		var ab, ba history.Batch
		tt.a(&ab)
		tt.b(&ab)
		tt.b(&ba)
		tt.a(&ba)
		if diff := cmp.Diff(ab, ba); diff != "" || tt.rows(ab) != tt.want {
			t.Errorf("%s: %d rows, want %d; the order matters: %s", name, tt.rows(ab), tt.want, diff)
		}
	}
}
