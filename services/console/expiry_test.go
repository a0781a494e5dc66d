package console_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

const day = 24 * time.Hour

// notices are those in the log.
func (r *suspendRig) notices() (all []failure.Notice) {
	r.t.Helper()
	for _, record := range r.committed(r.topics.Notices) {
		n, err := wire.ReadNotice(record)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func TestAdministratorsAreToldOfExpiry(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, db sqldb.Config) {
		t.Parallel()
		r := suspending(rigOn(t, db))
		w, deleted := r.create(minimal), r.create(minimal)
		// From the start of a week of expiry on, so that all but the last expire in it.
		week := failure.ExpiryWeek(time.Now().Add(16 * day))
		first := week.Add(-30 * day).Add(time.Minute)
		times := []time.Duration{0, time.Second, 3 * day, 8 * day}
		for _, id := range []string{w.ID, deleted.ID, uuid.NewString()} {
			r.suspended(id, len(times), func(i int, d *delivery.Delivery) {
				d.ReceivedAt, d.SuspendedAt = first.Add(times[i]), first.Add(times[i])
			})
		}
		r.status(delivery.ID(w.ID[24:]+"-3", w.ID), delivery.Suspended)
		r.do(204, "DELETE", "/api/v1/webhooks/"+deleted.ID, "")
		tell := func(at time.Time) []failure.Notice {
			t.Helper()
			if err := r.svc.TellExpiry(t.Context(), at); err != nil {
				t.Fatal(err)
			}
			return r.notices()
		}
		expires := first.Add(30 * day)
		if got := tell(expires.Add(-7*day - time.Second)); len(got) != 0 {
			t.Errorf("too early: %+v", got)
		}
		at := expires.Add(-7 * day)
		want := failure.Notice{
			ID: failure.ExpiryID(w.ID, week), Kind: failure.NoticeExpiry, Tenant: "default", WebhookID: w.ID, Generation: 1,
			RaisedAt: at, Expiring: 3, ExpiresAt: expires,
		}
		got := tell(at)
		if diff := cmp.Diff([]failure.Notice{want}, got); diff != "" {
			t.Errorf("notices (-want +got):\n%s", diff)
		}
		// Until the history has it, it may be written again: it is the same.
		if got = tell(at.Add(time.Hour)); len(got) != 2 || got[1].ID != want.ID {
			t.Errorf("again: %+v", got)
		}
		r.record(func(b *history.Batch) { b.AddNotice(want) })
		if got = tell(at.Add(2 * time.Hour)); len(got) != 2 {
			t.Errorf("told already: %+v", got[2:])
		}
		// The week after has a notice of its own; what has expired is told no more.
		if got = tell(expires.Add(2 * day)); len(got) != 3 || got[2].ID != failure.ExpiryID(w.ID, week.Add(7*day)) || got[2].Expiring != 1 {
			t.Errorf("of the next week: %+v", got)
		}
		if got = tell(expires.Add(60 * day)); len(got) != 3 {
			t.Errorf("two months later: %+v", got[3:])
		}
	})
}

func TestDeliveriesSayThatTheyExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.create(minimal)
	now := time.Now().UTC().Truncate(time.Millisecond)
	for _, tt := range []struct {
		at      time.Time
		expired bool
	}{{now.Add(-29 * day), false}, {now.Add(-30 * day), true}} {
		d := matched(published(uuid.NewString(), tt.at.Add(-time.Minute)), w.ID)
		d.SuspendReason, d.SuspendedAt = delivery.SuspendDisabled, tt.at
		r.deliver(r.topics.Suspended, d)
		got := data[console.DeliveryDetail](t, r.do(200, "GET", deliveriesPath+"/"+d.ID, ""))
		if got.ExpiresAt == nil || !got.ExpiresAt.Equal(tt.at.Add(30*day)) || got.Expired != tt.expired {
			t.Errorf("suspended at %s: %+v", tt.at, got.Delivery)
		}
	}
	if n := data[console.Webhook](t, r.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")).SuspendedCount; n == nil || *n != 1 {
		t.Errorf("suspended: %v", n)
	}
}
