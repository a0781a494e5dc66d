// Package match says which webhooks an event goes to: those of its tenant that are active or held, whose
// event types name its type, whose filters its attributes meet and whose condition holds; oldest
// first, at most as many as the tenant's cap.
//
// It does not know failure states: whether a matched webhook is sent to, or its delivery kept
// suspended, is its caller's to say.
package match

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Target is what the index keeps of a webhook. It is never changed once handed out.
type Target struct {
	ID         string
	Generation uint64
	Held       bool
	Paused     bool
	Payload    webhook.Payload
	Position   delivery.Position // of the webhook's record

	createdAt time.Time
	tenant    string
	groups    []*group
	filters   []pair // sorted by key
	condition string
	program   *Program // nil: no condition, or one that does not compile
	fault     error    // why the condition does not compile
}

// Condition is the condition of the webhook; empty: none.
func (t *Target) Condition() string { return t.condition }

// pair is one attribute with its value.
type pair struct{ key, value string }

// group holds a tenant's webhooks that have one event type pattern in common. Its key is what an
// event's type begins with: "" for "*", "card." for "card.*"; a type itself, which never ends in a
// dot, stands for itself. A webhook with filters stands under its first pair only, so that an event looks at the webhooks that share one
// of its attributes and not at all of them. Lists are oldest first.
type group struct {
	key        string
	unfiltered []*Target
	filtered   map[pair][]*Target // nil while no webhook has filters
}

// Index answers which webhooks an event goes to. It is not safe for use by several goroutines
// while one of them changes it.
type Index struct {
	targets  map[string]*Target
	tenants  map[string]map[string]*group // by tenant, then group key
	programs map[string]*shared           // by condition
}

// shared is a program that several webhooks with the same condition use.
type shared struct {
	program *Program
	fault   error
	users   int
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	return &Index{targets: map[string]*Target{}, tenants: map[string]map[string]*group{}, programs: map[string]*shared{}}
}

// Len is the number of webhooks that can match.
func (x *Index) Len() int { return len(x.targets) }

// Change is what a webhook adds to the index, made ready by Prepare.
type Change struct {
	target *Target // nil: it is to be forgotten
	id     string
	keys   []string
}

// Put is Prepare and Apply in one.
func (x *Index) Put(w webhook.Webhook, position delivery.Position) { x.Apply(x.Prepare(w, position)) }

// Prepare makes what Apply adds of a webhook, its condition compiled, which takes a thousand times as long as the rest.
// It only reads the index: others may match meanwhile, while nobody changes it. Event types are as webhook.Check allows them.
func (x *Index) Prepare(w webhook.Webhook, position delivery.Position) Change {
	if !w.Active && !w.Held {
		return Change{id: w.ID}
	}
	t := &Target{
		ID: w.ID, Generation: w.Generation, Held: w.Held && !w.Active, Paused: w.Paused, Payload: w.Payload, Position: position,
		createdAt: w.CreatedAt, tenant: w.Tenant, filters: sortedPairs(w.Filters), condition: w.Condition,
	}
	if s := x.programs[w.Condition]; s != nil {
		t.program, t.fault = s.program, s.fault
	} else if w.Condition != "" {
		t.program, t.fault = Compile(w.Condition)
	}
	return Change{target: t, id: w.ID, keys: groupKeys(w.EventTypes)}
}

// Apply adds a webhook or replaces what is known of it. An inactive webhook matches nothing, so it is not kept, unless
// it is held. What was prepared must be applied before the next is prepared.
//
// A webhook that stays in its places, as when all are written to the log again, is replaced there, and its
// condition is not compiled anew.
func (x *Index) Apply(c Change) {
	t := c.target
	if t == nil {
		x.Remove(c.id)
		return
	}
	x.hold(t) // before the old one is released: a program that stays is not dropped
	if old := x.targets[t.ID]; old != nil && old.standsAs(t, c.keys) {
		t.groups = old.groups
		for _, g := range t.groups {
			g.replace(t)
		}
		x.release(old.condition)
	} else {
		x.Remove(t.ID)
		x.place(t, c.keys)
	}
	x.targets[t.ID] = t
}

// groupKeys are the keys of the groups that event types stand for, each once.
func groupKeys(types []string) []string {
	keys := make([]string, 0, len(types))
	for _, pattern := range types {
		if key := strings.TrimSuffix(pattern, "*"); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// standsAs reports whether another with those groups has the same places in the same lists as t.
func (t *Target) standsAs(other *Target, keys []string) bool {
	return t.tenant == other.tenant && t.createdAt.Equal(other.createdAt) &&
		slices.Equal(t.filters[:min(1, len(t.filters))], other.filters[:min(1, len(other.filters))]) &&
		slices.EqualFunc(t.groups, keys, func(g *group, key string) bool { return g.key == key })
}

// place puts a target into its groups.
func (x *Index) place(t *Target, keys []string) {
	groups := x.tenants[t.tenant]
	if groups == nil {
		groups = map[string]*group{}
		x.tenants[t.tenant] = groups
	}
	t.groups = make([]*group, 0, len(keys))
	for _, key := range keys {
		g := groups[key]
		if g == nil {
			g = &group{key: key}
			groups[key] = g
		}
		t.groups = append(t.groups, g)
		g.add(t)
	}
}

// Remove forgets a webhook; one that is not known is no error.
func (x *Index) Remove(id string) {
	t, ok := x.targets[id]
	if !ok {
		return
	}
	delete(x.targets, id)
	groups := x.tenants[t.tenant]
	for _, g := range t.groups {
		if g.remove(t) {
			delete(groups, g.key)
		}
	}
	if len(groups) == 0 {
		delete(x.tenants, t.tenant)
	}
	x.release(t.condition)
}

// hold keeps a target's program for all webhooks that have the same condition.
func (x *Index) hold(t *Target) {
	if t.condition == "" {
		return
	}
	s := x.programs[t.condition]
	if s == nil {
		s = &shared{program: t.program, fault: t.fault}
		x.programs[t.condition] = s
	}
	s.users++
}

func (x *Index) release(condition string) {
	s := x.programs[condition]
	if s == nil {
		return
	}
	if s.users--; s.users == 0 {
		delete(x.programs, condition)
	}
}

func (g *group) add(t *Target) {
	if len(t.filters) == 0 {
		g.unfiltered = insert(g.unfiltered, t)
		return
	}
	if g.filtered == nil {
		g.filtered = map[pair][]*Target{}
	}
	g.filtered[t.filters[0]] = insert(g.filtered[t.filters[0]], t)
}

// remove takes t out and reports whether nothing is left.
func (g *group) remove(t *Target) (empty bool) {
	if len(t.filters) == 0 {
		g.unfiltered = without(g.unfiltered, t)
	} else if left := without(g.filtered[t.filters[0]], t); len(left) == 0 {
		delete(g.filtered, t.filters[0])
	} else {
		g.filtered[t.filters[0]] = left
	}
	return len(g.unfiltered) == 0 && len(g.filtered) == 0
}

// replace puts t where the target of the same id and places stands.
func (g *group) replace(t *Target) {
	list := g.unfiltered
	if len(t.filters) > 0 {
		list = g.filtered[t.filters[0]]
	}
	if i, found := slices.BinarySearchFunc(list, t, older); found {
		list[i] = t
	}
}

func insert(list []*Target, t *Target) []*Target {
	i, _ := slices.BinarySearchFunc(list, t, older)
	if list == nil {
		return []*Target{t} // most lists stay at one: no room to grow
	}
	return slices.Insert(list, i, t)
}

func without(list []*Target, t *Target) []*Target {
	i, found := slices.BinarySearchFunc(list, t, older)
	if !found {
		return list
	}
	return slices.Delete(list, i, i+1)
}

// older orders webhooks by creation, then id: the order in which the cap keeps them.
func older(a, b *Target) int {
	return cmp.Or(a.createdAt.Compare(b.createdAt), strings.Compare(a.ID, b.ID))
}

func sortedPairs(m map[string]string) []pair {
	if len(m) == 0 {
		return nil
	}
	pairs := make([]pair, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, pair{k, m[k]})
	}
	return pairs
}

// Result is what an event was matched with.
type Result struct {
	Hits   []*Target // oldest first
	Cut    int       // how many more matched, over the limit
	Failed []Failed  // webhooks whose condition could not be evaluated

	verdicts map[*Program]verdict // used again for each event
}

// Failed is a webhook whose condition could not be evaluated: it did not match.
type Failed struct {
	Target *Target
	Err    error
}

// Match finds the webhooks that e goes to, at most limit. It overwrites r, whose memory it uses again.
func (x *Index) Match(e event.Event, limit int, r *Result) {
	r.Hits, r.Cut, r.Failed = r.Hits[:0], 0, r.Failed[:0]
	groups := x.tenants[e.Tenant]
	if groups == nil {
		return
	}
	n := groups[""].match(e, r) + groups[e.Type].match(e, r)
	for i := range len(e.Type) {
		if e.Type[i] == '.' {
			n += groups[e.Type[:i+1]].match(e, r)
		}
	}
	if n > 1 {
		slices.SortFunc(r.Hits, older)
		r.Hits = slices.Compact(r.Hits) // a webhook may name a type twice: card.updated and card.*
	}
	if len(x.programs) > 0 {
		r.judge(e)
	}
	if len(r.Hits) > limit {
		r.Cut = len(r.Hits) - limit
		r.Hits = r.Hits[:limit]
	}
}

// match adds the group's webhooks whose filters e meets, and returns from how many lists they came.
func (g *group) match(e event.Event, r *Result) (lists int) {
	if g == nil {
		return 0
	}
	if len(g.unfiltered) > 0 {
		r.Hits = append(r.Hits, g.unfiltered...)
		lists++
	}
	if len(g.filtered) == 0 {
		return lists
	}
	for k, v := range e.Attributes {
		list := g.filtered[pair{k, v}]
		if len(list) == 0 {
			continue
		}
		lists++
		for _, t := range list {
			if t.meets(e.Attributes) {
				r.Hits = append(r.Hits, t)
			}
		}
	}
	return lists
}

// meets reports whether the attributes have all that the filters ask; the first is known to hold.
func (t *Target) meets(attributes map[string]string) bool {
	for _, f := range t.filters[1:] {
		if v, ok := attributes[f.key]; !ok || v != f.value {
			return false
		}
	}
	return true
}

// maxEventCost bounds what all conditions of one event's webhooks cost together, in CEL's units: a tenth of a second or two.
// No number of webhooks may hold up the events of others.
const maxEventCost = 2_000_000

var errEventCost = fmt.Errorf("condition: not evaluated, the conditions of the event's webhooks cost more than %d together", maxEventCost)

// verdict is what came of a program, of which several webhooks may have the same.
type verdict struct {
	holds bool
	err   error
}

// judge keeps the hits whose condition holds.
func (r *Result) judge(e event.Event) {
	v, spent := newVariables(e), uint64(0)
	clear(r.verdicts)
	r.Hits = slices.DeleteFunc(r.Hits, func(t *Target) bool {
		if t.condition == "" {
			return false
		}
		if t.fault != nil {
			r.Failed = append(r.Failed, Failed{t, t.fault})
			return true
		}
		known, ok := r.verdicts[t.program]
		if !ok {
			known = verdict{err: errEventCost}
			if spent <= maxEventCost {
				var cost uint64
				known.holds, cost, known.err = t.program.holds(v)
				spent += cost + 1
			}
			if r.verdicts == nil {
				r.verdicts = map[*Program]verdict{}
			}
			r.verdicts[t.program] = known
		}
		if known.err != nil {
			r.Failed = append(r.Failed, Failed{t, known.err})
		}
		return !known.holds
	})
}
