package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// What is matched: each tenant has that many webhooks, of which that many want an event.
const (
	matchFan         = 10
	matchPerTenant   = 100
	matchTenants     = 1000 // in runs of fullTime or more; shorter ones have fewer
	matchDataBytes   = 200
	assumedMatch     = 10_000 // events a second that are put into the log for a run of a certain time
	fullTime         = 5 * time.Second
	indexBytesTarget = 1.5 * 1024
)

func match() Case {
	return Case{
		Name: "match", Unit: "delivery records",
		Title:   fmt.Sprintf("events of %d bytes, each for %d of its tenant's %d webhooks, from log to log; memory of the index for each webhook", matchDataBytes, matchFan, matchPerTenant),
		Targets: []Target{{Figure: "rate", Least: 200_000}, {Figure: "index bytes", Most: indexBytesTarget}},
		Run:     runMatch,
	}
}

// scaled is n for runs of fullTime or longer, and less for shorter ones in proportion.
func scaled(n int, t time.Duration) int {
	return max(1, int(float64(n)*min(1, t.Seconds()/fullTime.Seconds())))
}

func runMatch(ctx context.Context, bed *Bed) (Sample, error) {
	log, err := bed.Log(ctx)
	if err != nil {
		return Sample{}, err
	}
	tenants := scaled(matchTenants, bed.Time)
	empty, err := matcherHeap(ctx, bed, log)
	if err != nil {
		return Sample{}, err
	}
	if _, err := writeHooks(ctx, log, matchHooks(tenants)); err != nil {
		return Sample{}, err
	}
	full, err := matcherHeap(ctx, bed, log)
	if err != nil {
		return Sample{}, err
	}
	events := int(assumedMatch * bed.Time.Seconds())
	if err := fillEvents(ctx, log, events, tenants); err != nil {
		return Sample{}, err
	}
	m, err := watchMatch(ctx, bed, log, events)
	if err != nil {
		return Sample{}, err
	}
	webhooks := tenants * matchPerTenant
	m.Figures["webhooks"] = float64(webhooks)
	m.Figures["index bytes"] = (full - empty) / float64(webhooks)
	return m, nil
}

// matchHooks are the webhooks, the tenants' in turn, as they are registered in the course of time.
func matchHooks(tenants int) []webhook.Webhook {
	hooks := make([]webhook.Webhook, 0, tenants*matchPerTenant)
	for i := range matchPerTenant {
		for t := range tenants {
			w := newHook(tenantOf(t), fmt.Sprintf("https://t%d.example.com/hooks/%d", t, i), typeOf(i), "order.*")
			hooks = append(hooks, w)
		}
	}
	return hooks
}

func tenantOf(i int) string { return fmt.Sprintf("tenant-%d", i) }

// typeOf has as many values as make matchFan of a tenant's webhooks want each.
func typeOf(i int) string { return fmt.Sprintf("object%d.updated", i%(matchPerTenant/matchFan)) }

// fillEvents writes events, the tenants' in turn, each type after the other.
func fillEvents(ctx context.Context, log *Log, n, tenants int) error {
	now := time.Now()
	data := body(now, matchDataBytes)
	return write(ctx, log.Client, n, func(i int) (*kgo.Record, error) {
		return wire.Event(log.Topics.Events, event.Record{
			Event:      event.Event{ID: uuid.NewString(), Tenant: tenantOf(i % tenants), Type: typeOf(i / tenants), OccurredAt: now, Data: data},
			ReceivedAt: now, IDAssigned: true,
		})
	})
}

// matcherHeap starts a matcher, and returns what its heap holds once it knows all webhooks, in bytes.
func matcherHeap(ctx context.Context, bed *Bed, log *Log) (float64, error) {
	p, err := bed.Start(ctx, "matcher", log.Env, "matcher")
	if err != nil {
		return 0, err
	}
	for range 2 { // what pools hold goes with the second collection
		profile, err := get(ctx, p, "/debug/pprof/heap?gc=1")
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, profile)
		if err = errors.Join(err, profile.Close()); err != nil {
			return 0, err
		}
	}
	heap, err := metric(ctx, p, "go_memstats_alloc_bytes")
	if err == nil && heap == 0 {
		err = errors.New("the matcher does not say how large its heap is")
	}
	return heap, errors.Join(err, p.Stop(ctx))
}

// watchMatch measures a matcher from the tenth part of the events on, when it is warm.
func watchMatch(ctx context.Context, bed *Bed, log *Log, events int) (Sample, error) {
	p, err := bed.Start(ctx, "matcher", log.Env, "matcher")
	if err != nil {
		return Sample{}, err
	}
	want := events * matchFan
	matched := func() (float64, error) { return metric(ctx, p, "doorstep_deliveries_matched_total") }
	var began float64
	limit := 10*bed.Time + patience
	if err := await(ctx, askEvery, limit, "the first tenth of the deliveries", func() (_ bool, err error) {
		began, err = matched()
		return began >= float64(want/10), err
	}); err != nil {
		return Sample{}, err
	}
	watch := StartWatch(p, log.Process)
	if err := await(ctx, askEvery, limit, "all deliveries", func() (bool, error) {
		n, err := matched()
		return n >= float64(want), err
	}); err != nil {
		return Sample{}, err
	}
	units := float64(want) - began
	seconds, cpu := watch.Stop(int(units))
	_, peak := p.RSS()
	n, err := matched()
	inLog, inLogErr := written(ctx, log, log.Topics.Deliveries)
	if err = errors.Join(err, inLogErr); err == nil && (int(n) != want || inLog < int64(want) || units < float64(want)/10) {
		err = fmt.Errorf("%d deliveries were to be made, %.0f were counted from %.0f on, the log has %d records", want, n, began, inLog)
	}
	return Sample{Figures: map[string]float64{"rate": units / seconds, "memory": float64(peak)}, CPU: cpu}, err
}
