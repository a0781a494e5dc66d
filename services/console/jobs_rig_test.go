package console_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

// suspendRig is a rig whose history follows the log, as a recorder has it.
type suspendRig struct {
	*rig
	recorder *following
	base     time.Time      // when the first event was received: not long ago, for old ones expire
	made     map[string]int // deliveries suspended so far, by webhook
}

func newSuspendRig(t *testing.T) *suspendRig {
	t.Helper()
	return suspending(rigOn(t, sqldbtest.Any(t)))
}

func suspending(r *rig) *suspendRig {
	return &suspendRig{rig: r, recorder: r.follow(), base: time.Now().UTC().Add(-time.Hour).Truncate(time.Second), made: map[string]int{}}
}

// following writes what the log says into the history, and commits behind it.
type following struct {
	t      *testing.T
	store  *sqlhistory.Store
	client *kgo.Client
	topics wire.Topics
	group  string
	gate   sync.Mutex // held: nothing is recorded
}

func (r *rig) follow() *following {
	f := &following{t: r.t, store: r.store, topics: r.topics, group: r.cfg.Kafka.TopicPrefix + "recorder"}
	f.client = newClient(r.t, r.cfg.Kafka, kgo.ConsumeTopics(r.topics.Suspended, r.topics.Deliveries, r.topics.Attempts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			records := f.client.PollFetches(ctx).Records()
			f.gate.Lock()
			if err := f.take(ctx, records); err != nil && ctx.Err() == nil {
				f.t.Errorf("the recorder of this test: %v", err)
			}
			f.gate.Unlock()
		}
	})
	r.t.Cleanup(func() { cancel(); done.Wait() })
	return f
}

// take records and commits.
func (f *following) take(ctx context.Context, records []*kgo.Record) error {
	var b history.Batch
	offsets := kadm.Offsets{}
	for _, record := range records {
		offsets.AddOffset(record.Topic, record.Partition, record.Offset+1, -1)
		if record.Attrs.IsControl() {
			continue
		}
		if record.Topic == f.topics.Attempts {
			a, err := wire.ReadAttempt(record)
			if err != nil {
				return err
			}
			b.AddAttempt(a)
			continue
		}
		d, err := wire.ReadDelivery(record)
		if err != nil {
			return err
		}
		b.AddDelivery(d, wire.PositionOf(record))
	}
	if len(records) == 0 {
		return nil
	}
	if err := f.store.Record(ctx, &b); err != nil {
		return err
	}
	return kadm.NewClient(f.client).CommitAllOffsets(ctx, f.group, offsets)
}

// suspended are deliveries of n new events to a webhook, suspended one second after the other, in the log.
func (r *suspendRig) suspended(webhookID string, n int, change func(i int, d *delivery.Delivery)) []delivery.Delivery {
	r.t.Helper()
	var (
		all     []delivery.Delivery
		records []*kgo.Record
	)
	for i := r.made[webhookID]; i < r.made[webhookID]+n; i++ {
		at := r.base.Add(time.Duration(i) * time.Second)
		d := matched(published(fmt.Sprintf("%s-%d", webhookID[24:], i), at), webhookID)
		d.Body = fmt.Appendf(nil, `{ "n" : %d.0 }`, i)
		d.SuspendReason, d.SuspendedAt = delivery.SuspendPaused, at
		if change != nil {
			change(i, &d)
		}
		record, err := wire.Delivery(r.topics.Suspended, d)
		if err != nil {
			r.t.Fatal(err)
		}
		all, records = append(all, d), append(records, record)
	}
	if err := r.client.ProduceSync(r.t.Context(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	r.made[webhookID] += n
	return all
}

// ask starts a job.
func (r *suspendRig) ask(webhookID, kind, body string) console.Job {
	r.t.Helper()
	a := r.do(202, "POST", "/api/v1/webhooks/"+webhookID+"/"+kind, body)
	j := data[console.Job](r.t, a)
	if a.header.Get("Location") != "/api/v1/jobs/"+j.ID || string(j.Kind) != kind || j.WebhookID != webhookID || j.CreatedAt.IsZero() {
		r.t.Fatalf("%s: %s", kind, a.text)
	}
	return j
}

func (r *suspendRig) job(id string) console.Job {
	r.t.Helper()
	return data[console.Job](r.t, r.do(200, "GET", "/api/v1/jobs/"+id, ""))
}

// ended waits for a job to be done or to fail.
func (r *suspendRig) ended(id string) (j console.Job) {
	r.t.Helper()
	eventually(r.t, func() error {
		if j = r.job(id); j.FinishedAt == nil {
			return fmt.Errorf("job %+v", j)
		}
		return nil
	})
	return j
}

func (r *suspendRig) done(id string, changed, skipped int64) {
	r.t.Helper()
	if j := r.ended(id); j.Status != "done" || j.Changed != changed || j.Skipped != skipped || j.Error != "" {
		r.t.Errorf("%+v, want done, %d changed, %d skipped", j, changed, skipped)
	}
}

// released are the runs in the log by delivery, as senders read them.
func (r *suspendRig) released(webhookID string) map[string][]delivery.Delivery {
	r.t.Helper()
	runs := map[string][]delivery.Delivery{}
	for _, record := range r.committed(r.topics.Deliveries) {
		if d, err := wire.ReadDelivery(record); err != nil {
			r.t.Fatal(err)
		} else if d.WebhookID == webhookID {
			runs[d.ID] = append(runs[d.ID], d)
		}
	}
	return runs
}

// committed are all records of a topic that are committed now.
func (r *rig) committed(topic string) (all []*kgo.Record) {
	r.t.Helper()
	ends, err := kadm.NewClient(r.client).ListCommittedOffsets(r.t.Context(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	client := newClient(r.t, r.cfg.Kafka, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("%s: not read to %v", topic, left)
		}
		for _, record := range fetches.Records() {
			if record.Offset+1 >= left[record.Partition] {
				delete(left, record.Partition)
			}
			if !record.Attrs.IsControl() {
				all = append(all, record)
			}
		}
	}
	return all
}

// releasedOnce fails unless exactly these deliveries were released, each as one run, with the bytes and in the trace that they had.
func (r *suspendRig) releasedOnce(webhookID string, want []delivery.Delivery) {
	r.t.Helper()
	runs := r.released(webhookID)
	for _, d := range want {
		got := runs[d.ID]
		delete(runs, d.ID)
		if len(got) != 1 {
			r.t.Errorf("delivery %s (%s): %d runs", d.ID, d.EventID, len(got))
			continue
		}
		g := got[0]
		if g.RunID <= d.RunID && d.RunID != delivery.FirstRunID(d.ID) || g.RunID == d.RunID || g.Cause != delivery.CauseRelease || g.Attempt != 1 ||
			string(g.Body) != string(d.Body) || g.TraceContext != d.TraceContext || g.SuspendReason != "" || !g.SuspendedAt.IsZero() || !g.DueAt.IsZero() {
			r.t.Errorf("delivery %s: %+v", d.ID, g)
		}
	}
	if len(runs) > 0 {
		r.t.Errorf("%d deliveries were released that were not to be", len(runs))
	}
}

// status waits until a delivery has it.
func (r *suspendRig) status(id string, want delivery.Status) (d console.DeliveryDetail) {
	r.t.Helper()
	eventually(r.t, func() error {
		a := r.as(bootKey, "GET", deliveriesPath+"/"+id, "")
		if a.status == 200 {
			d = data[console.DeliveryDetail](r.t, a)
		}
		if d.Status != want {
			return fmt.Errorf("%s is %q, not %s: %d", id, d.Status, want, a.status)
		}
		return nil
	})
	return d
}

// decisions are the decisions about a webhook's deliveries in the log, by delivery.
func (r *suspendRig) decisions(webhookID string) map[string][]delivery.Attempt {
	r.t.Helper()
	found := map[string][]delivery.Attempt{}
	for _, record := range r.committed(r.topics.Attempts) {
		if a, err := wire.ReadAttempt(record); err != nil {
			r.t.Fatal(err)
		} else if a.WebhookID == webhookID && a.Kind == delivery.KindDecision {
			found[a.DeliveryID] = append(found[a.DeliveryID], a)
		}
	}
	return found
}

// disable writes the state of a webhook whose streak is at its end.
func (r *suspendRig) disable(w console.Webhook) {
	r.t.Helper()
	r.write(wire.State(r.topics.States, failure.State{
		WebhookID: w.ID, Tenant: "default", Generation: 1, Version: 500, FailStreak: 500, FailStreakStartedAt: r.base,
		Disabled: true, DisabledAt: r.base, DisableReason: failure.DisabledByStreak,
	}))
	eventually(r.t, func() error {
		if v := data[console.Webhook](r.t, r.do(200, "GET", "/api/v1/webhooks/"+w.ID, "")); !v.Disabled {
			return fmt.Errorf("not disabled")
		}
		return nil
	})
}

func eventIDs(all []delivery.Delivery) string {
	var ids []string
	for _, d := range all {
		ids = append(ids, d.EventID[strings.LastIndex(d.EventID, "-")+1:])
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
