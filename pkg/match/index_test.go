package match_test

import (
	"cmp"
	"fmt"
	"maps"
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

// compiled is what became of a condition.
type compiled struct {
	program *match.Program
	fault   error
}

// naive is the same question asked of every webhook in turn.
func naive(hooks map[string]webhook.Webhook, programs map[string]compiled, e event.Event, limit int) (hits, failed []string, cut int) {
	all := slices.SortedFunc(maps.Values(hooks), func(a, b webhook.Webhook) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	hits, failed = []string{}, []string{}
	for _, w := range all {
		if !w.Active && !w.Held || w.Tenant != e.Tenant || !w.Wants(e.Type) {
			continue
		}
		ok := true
		for k, v := range w.Filters {
			has, there := e.Attributes[k]
			ok = ok && there && has == v
		}
		if ok && w.Condition != "" {
			c := programs[w.Condition]
			err := c.fault
			if err == nil {
				ok, err = c.program.Holds(e)
			}
			if err != nil {
				ok, failed = false, append(failed, w.ID)
			}
		}
		switch {
		case ok && len(hits) < limit:
			hits = append(hits, w.ID)
		case ok:
			cut++
		}
	}
	return hits, failed, cut
}

func TestIndexAnswersAsTheNaiveMatcherDoes(t *testing.T) {
	tenants := rapid.SampledFrom([]string{"acme", "other"})
	names := rapid.SampledFrom([]string{"card", "card.updated", "card.updated.merged", "card.created", "board.updated"})
	patterns := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"*", names.Draw(t, "name"), names.Draw(t, "name") + ".*"}).Draw(t, "pattern")
	})
	pairs := rapid.MapOfN(rapid.SampledFrom([]string{"user", "project", "z"}), rapid.SampledFrom([]string{"", "1", "2"}), 0, 3)
	conditions, programs := []string{"", "", "", "", "", ""}, map[string]compiled{}
	for _, c := range []string{`"user" in event.attributes`, `event.attributes.user == "1"`, `data.id > 1`, `data.`} {
		program, err := match.Compile(c)
		conditions, programs[c] = append(conditions, c), compiled{program, err}
	}
	someCondition := rapid.SampledFrom(conditions)
	rapid.Check(t, func(t *rapid.T) {
		x, model := match.NewIndex(), map[string]webhook.Webhook{}
		var r match.Result
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			id := rapid.SampledFrom(strings.Split("abcdefghijkl", "")).Draw(t, "id")
			w, known := model[id]
			put := func() {
				x.Put(w, delivery.Position{Offset: int64(step)})
				model[id] = w
			}
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0:
				x.Remove(id)
				delete(model, id)
			case 1, 2:
				w = webhook.Webhook{
					ID: id, Tenant: tenants.Draw(t, "tenant"), Active: rapid.IntRange(0, 4).Draw(t, "active") > 0, Held: rapid.Bool().Draw(t, "held"),
					EventTypes: rapid.SliceOfN(patterns, 1, 4).Draw(t, "types"), Filters: pairs.Draw(t, "filters"),
					Condition: someCondition.Draw(t, "condition"), CreatedAt: epoch.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * time.Hour),
				}
				put()
			case 3: // one part of it changes, or none
				if !known {
					continue
				}
				switch rapid.IntRange(0, 5).Draw(t, "part") {
				case 0:
					w.EventTypes = rapid.SliceOfN(patterns, 1, 4).Draw(t, "types")
				case 1:
					w.Filters = pairs.Draw(t, "filters")
				case 2:
					w.Condition = someCondition.Draw(t, "condition")
				case 3:
					w.Tenant = tenants.Draw(t, "tenant")
				case 4:
					w.Active = !w.Active
				}
				put()
			default:
				e := event.Event{
					Tenant: tenants.Draw(t, "tenant"), Type: names.Draw(t, "type"), Attributes: pairs.Draw(t, "attributes"),
					Data: []byte(rapid.SampledFrom([]string{`{}`, `{"id":1}`, `{"id":2}`}).Draw(t, "data")),
				}
				limit := rapid.IntRange(0, 6).Draw(t, "limit")
				x.Match(e, limit, &r)
				want, failed, cut := naive(model, programs, e, limit)
				x.Match(e, 100, &r)
				for id, w := range model {
					if !w.Active && !w.Held || w.Tenant != e.Tenant {
						continue
					}
					why := match.NewExplainer(w).Explain(e)
					if matches := slices.Contains(ids(r), id); matches != (why.Reason == match.Matches) {
						t.Fatalf("%+v: %s matches: %v, and is explained by %+v", e, id, matches, why)
					}
					if failed := slices.Contains(failedIDs(r), id); failed != (why.Reason == match.ConditionNotDecided) || failed != (why.Err != nil) {
						t.Fatalf("%+v: %s fails: %v, and is explained by %+v", e, id, failed, why)
					}
				}
				x.Match(e, limit, &r)
				if diff := gocmp.Diff(want, ids(r)); diff != "" || cut != r.Cut {
					t.Fatalf("%+v: cut %d, want %d; hits (-want +got):\n%s", e, r.Cut, cut, diff)
				}
				if diff := gocmp.Diff(failed, failedIDs(r)); diff != "" {
					t.Fatalf("%+v: failed (-want +got):\n%s", e, diff)
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

func failedIDs(r match.Result) []string {
	out := []string{}
	for _, f := range r.Failed {
		out = append(out, f.Target.ID)
	}
	return out
}

// What was handed out stays as it was, and what comes next has what is new.
func TestAChangeIsSeenAndLeavesHitsAsTheyWere(t *testing.T) {
	x := match.NewIndex()
	x.Put(hook("w"), delivery.Position{Offset: 1})
	var before, after match.Result
	e := event.Event{Tenant: "acme", Type: "card.updated"}
	x.Match(e, 10, &before)
	x.Put(hook("w", func(w *webhook.Webhook) { w.Generation, w.Paused, w.Payload.Format = 2, true, webhook.FormatThin }), delivery.Position{Offset: 2})
	x.Match(e, 10, &after)
	if was := before.Hits[0]; was.Position.Offset != 1 || was.Generation != 0 || was.Paused {
		t.Errorf("what was handed out is now %+v", was)
	}
	if is := after.Hits[0]; len(after.Hits) != 1 || is.Position.Offset != 2 || is.Generation != 2 || !is.Paused || is.Payload.Format != webhook.FormatThin {
		t.Errorf("after the change: %+v", is)
	}
}

// largeHook is one of 100,000 webhooks over so many tenants, as it comes from the log: every string its own.
// A tenant's webhooks want 5 types each, a tenth of them with filters; with 1,000 tenants an event goes to about 10.
func largeHook(i, tenants int) webhook.Webhook {
	w := webhook.Webhook{
		ID: fmt.Sprintf("6f1c3f0e-5a76-4c1b-9d53-%012d", i), Tenant: fmt.Sprintf("tenant-%d", i%tenants), Active: true,
		CreatedAt: epoch.Add(time.Duration(i) * time.Second),
	}
	for j := range 5 {
		w.EventTypes = append(w.EventTypes, fmt.Sprintf("object%d.updated", (i/tenants+j*7)%50))
	}
	if i%10 == 0 {
		w.Filters = map[string]string{"eventUser": fmt.Sprint(i), "eventProject": fmt.Sprint(i % 100)}
	}
	return w
}

func large() *match.Index {
	x := match.NewIndex()
	for i := range 100_000 {
		x.Put(largeHook(i, 1000), delivery.Position{Topic: "doorstep.webhooks", Partition: int32(i % 12), Offset: int64(i)})
	}
	return x
}

// BenchmarkPut changes one of 100,000 webhooks: as when all are written again, and with other event types.
// An op is a change.
func BenchmarkPut(b *testing.B) {
	for _, tenants := range []int{1000, 10} {
		x := match.NewIndex()
		hooks := make([]webhook.Webhook, 100_000)
		for i := range hooks {
			hooks[i] = largeHook(i, tenants)
			x.Put(hooks[i], delivery.Position{Offset: int64(i)})
		}
		b.Run(fmt.Sprintf("tenants=%d/again", tenants), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				x.Put(hooks[i*7919%len(hooks)], delivery.Position{Offset: int64(i)})
			}
		})
		b.Run(fmt.Sprintf("tenants=%d/types", tenants), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				w := &hooks[i*7919%len(hooks)]
				w.EventTypes = append(slices.Clone(w.EventTypes[1:]), w.EventTypes[0])
				x.Put(*w, delivery.Position{Offset: int64(i)})
			}
		})
	}
	b.Run("condition", func(b *testing.B) { // a new one, which is compiled
		x := match.NewIndex()
		for i := 0; b.Loop(); i++ {
			x.Put(hook("w", condition(fmt.Sprintf(`data.amount > %d && event.attributes["eventUser"] == "545"`, i))), delivery.Position{})
		}
	})
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestIndexIsSmall(t *testing.T) {
	before := heapBytes()
	x := large()
	each := (heapBytes() - before) / uint64(x.Len())
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
	before := heapBytes()
	x, r := large(), match.Result{}
	each := float64(heapBytes()-before) / float64(x.Len())
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
	b.ReportMetric(each, "bytes/webhook")
	b.ReportMetric(float64(hits)/b.Elapsed().Seconds(), "hits/s")
	b.ReportMetric(float64(hits)/float64(b.N), "hits/event")
}
