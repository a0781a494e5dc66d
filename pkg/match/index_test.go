package match_test

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/match"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func hook(id string, change ...func(*webhook.Webhook)) webhook.Webhook {
	w := webhook.Webhook{ID: id, Tenant: "acme", Active: true, EventTypes: []string{"card.updated"}, CreatedAt: epoch}
	for _, c := range change {
		c(&w)
	}
	return w
}

func types(t ...string) func(*webhook.Webhook) {
	return func(w *webhook.Webhook) { w.EventTypes = t }
}

func filters(kv ...string) func(*webhook.Webhook) {
	return func(w *webhook.Webhook) {
		w.Filters = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			w.Filters[kv[i]] = kv[i+1]
		}
	}
}

func ids(r match.Result) []string {
	out := []string{}
	for _, h := range r.Hits {
		out = append(out, h.ID)
	}
	return out
}

func TestMatch(t *testing.T) {
	project := map[string]string{"eventUser": "545", "eventProject": "66"}
	for name, tt := range map[string]struct {
		hook webhook.Webhook
		want bool
	}{
		"its type":              {hook("w"), true},
		"another type":          {hook("w", types("card.created")), false},
		"a prefix":              {hook("w", types("card.*")), true},
		"a prefix of names":     {hook("w", types("car.*")), false},
		"all":                   {hook("w", types("*")), true},
		"a longer type":         {hook("w", types("card.updated.*")), false},
		"one of several":        {hook("w", types("board.*", "card.updated")), true},
		"named twice":           {hook("w", types("*", "card.*", "card.updated")), true},
		"inactive":              {hook("w", func(w *webhook.Webhook) { w.Active = false }), false},
		"inactive but held":     {hook("w", func(w *webhook.Webhook) { w.Active, w.Held = false, true }), true},
		"paused still matches":  {hook("w", func(w *webhook.Webhook) { w.Paused = true }), true},
		"another tenant's":      {hook("w", func(w *webhook.Webhook) { w.Tenant = "other" }), false},
		"filter met":            {hook("w", filters("eventUser", "545")), true},
		"filters met":           {hook("w", filters("eventUser", "545", "eventProject", "66")), true},
		"second filter not met": {hook("w", filters("eventProject", "66", "eventUser", "1")), false},
		"filter not met":        {hook("w", filters("eventProject", "67")), false},
		"attribute missing":     {hook("w", filters("eventProject", "66", "z", "")), false},
		"condition holds":       {hook("w", condition(`event.attributes.eventUser == "545"`)), true},
		"condition fails":       {hook("w", condition(`event.attributes.eventUser == "1"`)), false},
		"condition is broken":   {hook("w", condition(`event.`)), false},
	} {
		t.Run(name, func(t *testing.T) {
			x := match.NewIndex()
			x.Put(tt.hook, delivery.Position{Offset: 7})
			var r match.Result
			x.Match(event.Event{Tenant: "acme", Type: "card.updated", Attributes: project}, 10, &r)
			if got := slices.Equal(ids(r), []string{"w"}); got != tt.want || len(r.Hits) > 1 {
				t.Fatalf("hits %v, want a hit: %v", ids(r), tt.want)
			}
			if tt.want && r.Hits[0].Position.Offset != 7 {
				t.Errorf("position %v is lost", r.Hits[0].Position)
			}
		})
	}
}

func condition(c string) func(*webhook.Webhook) {
	return func(w *webhook.Webhook) { w.Condition = c }
}

func TestMatchKeepsTheOldest(t *testing.T) {
	x := match.NewIndex()
	for i := range 5 {
		at := epoch.Add(time.Duration(9-i/2) * time.Hour) // c, d share a time, a, b too
		x.Put(hook(string(rune('a'+i)), func(w *webhook.Webhook) { w.CreatedAt = at }), delivery.Position{})
	}
	var r match.Result
	x.Match(event.Event{Tenant: "acme", Type: "card.updated"}, 3, &r)
	if diff := gocmp.Diff([]string{"e", "c", "d"}, ids(r)); diff != "" || r.Cut != 2 {
		t.Errorf("cut %d, want 2; hits (-want +got):\n%s", r.Cut, diff)
	}
}

func TestMatchReportsConditionsThatFail(t *testing.T) {
	x := match.NewIndex()
	x.Put(hook("broken", condition("event.")), delivery.Position{})
	x.Put(hook("lacking", condition("data.amount > 5")), delivery.Position{})
	x.Put(hook("plain"), delivery.Position{})
	var r match.Result
	x.Match(event.Event{Tenant: "acme", Type: "card.updated", Data: []byte(`{}`)}, 1, &r)
	if diff := gocmp.Diff([]string{"plain"}, ids(r)); diff != "" || r.Cut != 0 {
		t.Errorf("cut %d; hits (-want +got):\n%s", r.Cut, diff)
	}
	if len(r.Failed) != 2 || r.Failed[0].Target.ID != "broken" || r.Failed[1].Target.ID != "lacking" {
		t.Fatalf("failed: %v, want broken and lacking", r.Failed)
	}
}

// naive is the same question asked of every webhook in turn.
func naive(hooks map[string]webhook.Webhook, e event.Event, limit int) (hits []string, cut int) {
	all := []webhook.Webhook{}
	for _, w := range hooks {
		if !w.Active || w.Tenant != e.Tenant || !w.Wants(e.Type) {
			continue
		}
		ok := true
		for k, v := range w.Filters {
			has, there := e.Attributes[k]
			ok = ok && there && has == v
		}
		if ok {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b webhook.Webhook) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	hits = []string{}
	for i, w := range all {
		if i == limit {
			return hits, len(all) - limit
		}
		hits = append(hits, w.ID)
	}
	return hits, 0
}

func TestIndexAnswersAsTheNaiveMatcherDoes(t *testing.T) {
	tenants := rapid.SampledFrom([]string{"acme", "other"})
	names := rapid.SampledFrom([]string{"card", "card.updated", "card.updated.merged", "card.created", "board.updated"})
	patterns := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"*", names.Draw(t, "name"), names.Draw(t, "name") + ".*"}).Draw(t, "pattern")
	})
	pairs := rapid.MapOfN(rapid.SampledFrom([]string{"user", "project", "z"}), rapid.SampledFrom([]string{"", "1", "2"}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		x, model := match.NewIndex(), map[string]webhook.Webhook{}
		var r match.Result
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			id := rapid.SampledFrom(strings.Split("abcdefghijkl", "")).Draw(t, "id")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				x.Remove(id)
				delete(model, id)
			case 1, 2:
				w := webhook.Webhook{
					ID: id, Tenant: tenants.Draw(t, "tenant"), Active: rapid.IntRange(0, 4).Draw(t, "active") > 0,
					EventTypes: rapid.SliceOfN(patterns, 1, 4).Draw(t, "types"), Filters: pairs.Draw(t, "filters"),
					CreatedAt: epoch.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * time.Hour),
				}
				x.Put(w, delivery.Position{})
				model[id] = w
			default:
				e := event.Event{Tenant: tenants.Draw(t, "tenant"), Type: names.Draw(t, "type"), Attributes: pairs.Draw(t, "attributes")}
				limit := rapid.IntRange(0, 6).Draw(t, "limit")
				x.Match(e, limit, &r)
				want, cut := naive(model, e, limit)
				if diff := gocmp.Diff(want, ids(r)); diff != "" || cut != r.Cut {
					t.Fatalf("%+v: cut %d, want %d; hits (-want +got):\n%s", e, r.Cut, cut, diff)
				}
			}
		}
		for id := range model {
			x.Remove(id)
		}
		if x.Len() != 0 {
			t.Fatalf("%d webhooks left after all were removed", x.Len())
		}
	})
}

// large is 100,000 webhooks over 1,000 tenants, as they come from the log: every string its own.
// A tenant's webhooks want 5 types each, a tenth of them with filters; an event goes to about 10.
func large() *match.Index {
	x := match.NewIndex()
	for i := range 100_000 {
		w := webhook.Webhook{
			ID: fmt.Sprintf("6f1c3f0e-5a76-4c1b-9d53-%012d", i), Tenant: fmt.Sprintf("tenant-%d", i%1000), Active: true,
			CreatedAt: epoch.Add(time.Duration(i) * time.Second),
		}
		for j := range 5 {
			w.EventTypes = append(w.EventTypes, fmt.Sprintf("object%d.updated", (i/1000+j*7)%50))
		}
		if i%10 == 0 {
			w.Filters = map[string]string{"eventUser": fmt.Sprint(i), "eventProject": fmt.Sprint(i % 100)}
		}
		x.Put(w, delivery.Position{Topic: "doorstep.webhooks", Partition: int32(i % 12), Offset: int64(i)})
	}
	return x
}

func TestIndexIsSmall(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x := large()
	each := (heap() - before) / uint64(x.Len())
	t.Logf("%d bytes a webhook", each)
	if each > 1536 {
		t.Errorf("%d bytes a webhook, the bound is 1,536", each)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	x, r := large(), match.Result{}
	e := event.Event{Tenant: "tenant-7", Type: "object3.updated", Attributes: map[string]string{"eventUser": "1"}}
	x.Match(e, 100, &r)
	if got := testing.AllocsPerRun(100, func() { x.Match(e, 100, &r) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkMatch(b *testing.B) {
	x, r := large(), match.Result{}
	events := make([]event.Event, 1000)
	for i := range events {
		events[i] = event.Event{
			Tenant: fmt.Sprintf("tenant-%d", i), Type: fmt.Sprintf("object%d.updated", i%50),
			Attributes: map[string]string{"eventUser": "1", "colour": "red"},
		}
	}
	hits := 0
	for i := 0; b.Loop(); i++ {
		x.Match(events[i%1000], 10_000, &r)
		hits += len(r.Hits)
	}
	b.ReportMetric(float64(hits)/b.Elapsed().Seconds(), "hits/s")
	b.ReportMetric(float64(hits)/float64(b.N), "hits/event")
}
