package fault

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rules are what was promised.
type Rules struct {
	Hooks  []Hook
	Tiers  []time.Duration
	TypeOf func(event string) int // which type an event has
	Slack  time.Duration          // between the clock readings of a receiver, a sender and a broker
	Warm   time.Time              // stalls and commits are measured of events acknowledged after it
}

// Hook is one webhook: which types it wants and how often its receiver refuses each delivery first.
type Hook struct {
	Types  []int
	Fails  int
	Delays time.Duration
}

// Report is what came of a run.
type Report struct {
	Events, Deliveries, Posts int
	Lost                      []string // deliveries that were never accepted
	Unknown                   []string // POSTs that no acknowledged event explains
	WrongBodies               []string
	Early                     []string // retries before their time
	Repeats                   int      // POSTs beyond those that the schedule asks for
	Forgotten                 int      // POSTs among them of what was published twice, and the first time may have been forgotten
	Unexplained               []string // repeats of what was committed, or that no disturbance explains
	// Waits are the times from acknowledgements to first POSTs, for each set of kinds of disturbance that there
	// was meanwhile.
	Waits         map[string][]time.Duration
	SlowestCommit time.Duration // from a POST's arrival to the commit of its record
}

// OK reports whether every promise was kept.
func (r Report) OK() bool {
	return len(r.Lost)+len(r.Unknown)+len(r.WrongBodies)+len(r.Early)+len(r.Unexplained) == 0
}

// String is the report in a few lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events acknowledged, %d deliveries, %d POSTs: %d lost, %d wrong bodies, %d unknown, %d early retries, %d repeats (%d unexplained); longest from a POST to its commit, undisturbed, %s",
		r.Events, r.Deliveries, r.Posts, len(r.Lost), len(r.WrongBodies), len(r.Unknown), len(r.Early), r.Repeats, len(r.Unexplained),
		r.SlowestCommit.Round(time.Millisecond))
	b.WriteString("\n  from acknowledgement to first POST:      p50        p99    longest")
	for _, w := range r.waits() {
		fmt.Fprintf(&b, "\n  %9d deliveries %20s %10s %10s  %s", w.n, w.p50.Round(time.Millisecond), w.p99.Round(time.Millisecond), w.longest.Round(time.Millisecond), w.kinds)
	}
	for name, list := range map[string][]string{"lost": r.Lost, "wrong body": r.WrongBodies, "unknown": r.Unknown, "early": r.Early, "unexplained": r.Unexplained} {
		for _, s := range list[:min(len(list), 10)] {
			fmt.Fprintf(&b, "\n  %s: %s", name, s)
		}
	}
	return b.String()
}

// wait sums up the waits of one set of kinds.
type wait struct {
	kinds             string
	n                 int
	p50, p99, longest time.Duration
}

// waits are sorted by the longest.
func (r Report) waits() []wait {
	var out []wait
	for kinds, all := range r.Waits {
		slices.Sort(all)
		n := len(all)
		out = append(out, wait{kinds, n, all[n/2], all[n*99/100], all[n-1]})
	}
	slices.SortFunc(out, func(a, b wait) int { return cmp.Compare(a.longest, b.longest) })
	return out
}

// key names a delivery as producers and receivers know it.
type key struct {
	event string
	hook  int
}

// Check holds a history against the rules.
func Check(h *History, rules Rules) Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	report := Report{Posts: len(h.Posts), Waits: map[string][]time.Duration{}}
	acks, again := map[string]Ack{}, map[string]time.Time{}
	for _, a := range h.Acks {
		if _, known := acks[a.Event]; known {
			again[a.Event] = a.At
			continue
		}
		acks[a.Event] = a
	}
	report.Events = len(acks)
	posts := map[key][]Post{}
	for _, p := range h.Posts {
		k := key{p.Event, p.Hook}
		posts[k] = append(posts[k], p)
		if a, known := acks[p.Event]; known && a.Body != p.Body {
			report.WrongBodies = append(report.WrongBodies, fmt.Sprintf("%s to hook %d", p.Event, p.Hook))
		} else if !known && !strings.HasPrefix(p.Event, "event-") {
			report.Unknown = append(report.Unknown, p.Event)
		}
	}
	records := map[key][]Record{}
	for _, r := range h.Records {
		k := key{r.Event, r.Hook}
		records[k] = append(records[k], r)
	}
	for _, a := range acks {
		for i, hook := range rules.Hooks {
			if slices.Contains(hook.Types, rules.TypeOf(a.Event)) {
				k := key{a.Event, i}
				report.Deliveries++
				rules.delivery(&report, a, i, story{posts[k], records[k], h.Disturbances, a.At, again[a.Event]})
			}
		}
	}
	return report
}

// story is all that happened to one delivery.
type story struct {
	posts        []Post
	records      []Record
	disturbances []Disturbance
	published    time.Time // acknowledged
	again        time.Time // and once more; zero: not
}

// delivery checks the POSTs of one delivery.
func (r Rules) delivery(report *Report, a Ack, hook int, s story) {
	name := fmt.Sprintf("%s to hook %d", a.Event, hook)
	posts := s.posts
	slices.SortFunc(posts, func(x, y Post) int { return x.At.Compare(y.At) })
	if !slices.ContainsFunc(posts, func(p Post) bool { return p.Status < 300 }) {
		report.Lost = append(report.Lost, fmt.Sprintf("%s after %d POSTs", name, len(posts)))
		return
	}
	// A POST may come before its acknowledgement: then the producer was told late, or asked again.
	warm := a.At.After(r.Warm)
	if warm {
		kinds := during(s.disturbances, a.At, posts[0].At)
		report.Waits[kinds] = append(report.Waits[kinds], posts[0].At.Sub(a.At))
	}
	if slow, ok := s.commitTime(); ok && warm {
		report.SlowestCommit = max(report.SlowestCommit, slow)
	}
	repeats, forgotten := max(0, len(posts)-1-r.Hooks[hook].Fails), s.forgotten()
	report.Repeats += repeats
	if forgotten {
		report.Forgotten += repeats
	}
	accepted := false
	for i := 1; i < len(posts); i++ {
		accepted = accepted || posts[i-1].Status < 300
		gap := posts[i].At.Sub(posts[i-1].At)
		early := i <= len(r.Tiers) && gap < r.Tiers[i-1]-r.Slack
		if !accepted && !early {
			continue // a retry in its time
		}
		if forgotten || s.explains(i, r.Slack) {
			continue
		}
		what := fmt.Sprintf("%s: POST %d came %s after the one before, at %s", name, i+1, gap.Round(time.Millisecond), posts[i].At.Format("15:04:05.000"))
		what += s.commits()
		if accepted {
			report.Unexplained = append(report.Unexplained, what)
		} else {
			report.Early = append(report.Early, what)
		}
	}
}

// commits says when the records were committed.
func (s story) commits() string {
	var b strings.Builder
	for _, r := range s.records {
		fmt.Fprintf(&b, "; record of %s committed %s", r.Written.Format("15:04:05.000"), r.Committed.Format("15:04:05.000"))
	}
	return b.String()
}

// explains reports whether the POST at index i may repeat an earlier one: when a disturbance began, the record
// of that one was not committed.
func (s story) explains(i int, slack time.Duration) bool {
	for _, d := range s.disturbances {
		if !d.Repeats || d.From.After(s.posts[i].At) {
			continue
		}
		for _, p := range s.posts[:i] {
			if p.At.Before(d.To) && slices.ContainsFunc(s.records, func(r Record) bool {
				open := r.Committed.IsZero() || r.Committed.After(d.From.Add(-slack))
				return open && r.Written.Before(p.At.Add(slack))
			}) {
				return true
			}
		}
	}
	return false
}

// forgotten reports whether the event was published twice, and the first time may have been forgotten by the second.
func (s story) forgotten() bool {
	return !s.again.IsZero() && slices.ContainsFunc(s.disturbances, func(d Disturbance) bool {
		return d.Forgets && d.From.Before(s.again.Add(aftermath)) && d.To.Add(aftermath).After(s.published)
	})
}

// commitTime is how long the record of a delivery that was POSTed once took to be committed; false: it was
// POSTed more often, or something was disturbed meanwhile.
func (s story) commitTime() (time.Duration, bool) {
	if len(s.posts) != 1 || len(s.records) != 1 || s.records[0].Committed.IsZero() {
		return 0, false
	}
	from, to := s.posts[0].At, s.records[0].Committed
	return to.Sub(from), during(s.disturbances, from, to) == undisturbed
}

const undisturbed = "undisturbed"

// during names the kinds of disturbance between two times, and what was healed shortly before.
func during(disturbances []Disturbance, from, to time.Time) string {
	var kinds []string
	for _, d := range disturbances {
		if d.From.Before(to) && d.To.Add(aftermath).After(from) {
			kinds = append(kinds, d.Kind)
		}
	}
	if len(kinds) == 0 {
		return undisturbed
	}
	slices.Sort(kinds)
	return strings.Join(slices.Compact(kinds), ", ")
}

// aftermath is how long what was disturbed may show once it is healed: a server that is back is slow at first.
const aftermath = 5 * time.Second
