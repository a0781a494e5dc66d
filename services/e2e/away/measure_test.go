package away

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// flow is something that Doorstep does for somebody.
type flow string

// The flows.
const (
	publish flow = "publishes"    // gRPC acknowledgements
	post    flow = "POSTs"        // first POSTs of deliveries
	disable flow = "disable"      // a webhook that begins to fail is disabled
	mail    flow = "mails"        // and its administrators are warned and told
	record  flow = "history"      // new deliveries can be looked up
	rest    flow = "REST"         // reads that need SQL
	restLog flow = "REST publish" // publishing over REST
	restOld flow = "REST history" // reads that need the history
)

func flows() []flow { return []flow{publish, post, disable, mail, record, rest, restLog, restOld} }

// current is how far behind the history may be and still be called current.
const current = 3 * time.Second

// measured is what went on between two times.
type measured struct {
	lasted   time.Duration
	acks     int
	posts    int // first ones
	codes    map[codes.Code]int
	slowest  time.Duration // refusal
	probes   map[flow][]probe
	disabled time.Duration // since the fault; 0: not
	mails    int
	age      time.Duration     // of the newest delivery in the history, at the end
	unready  map[string]string // by process: what it said
}

// measure sums up a fault that began at from; what went on in the first moments, until settled, does not count.
func (w *world) measure(from, settled, to time.Time, d *dead) measured {
	m := measured{lasted: to.Sub(settled), codes: map[codes.Code]int{}, probes: map[flow][]probe{}, unready: map[string]string{}}
	within := func(t time.Time) bool { return t.After(settled) && t.Before(to) }
	for _, n := range w.mailsOf(d) {
		m.mails += n
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range slices.Backward(w.acked) {
		if a.at.Before(from) {
			break
		}
		if within(a.at) {
			m.acks++
		}
	}
	for _, at := range w.posted {
		if within(at) {
			m.posts++
		}
	}
	for _, r := range w.refused {
		if within(r.at) {
			m.codes[r.code]++
			m.slowest = max(m.slowest, r.took)
		}
	}
	for _, p := range w.probes {
		if !within(p.at) {
			continue
		}
		m.probes[p.flow] = append(m.probes[p.flow], p)
		if p.flow == restOld && p.status == http.StatusOK {
			m.age = p.age + to.Sub(p.at)
		}
	}
	if m.age == 0 {
		m.age = to.Sub(from)
	}
	if at, so := w.tells[d.id]["disabled"]; so && at.Before(to) {
		m.disabled = at.Sub(from)
	}
	for _, r := range w.ready {
		if within(r.at) && r.status != http.StatusOK {
			m.unready[r.process] = strings.TrimSpace(r.body)
		}
	}
	return m
}

// statuses counts the answers of a flow.
func (m measured) statuses(f flow) map[int]int {
	out := map[int]int{}
	for _, p := range m.probes[f] {
		out[p.status]++
	}
	return out
}

// share is how much of a flow went on, 1 being all of it.
func (m measured) share(f flow) float64 {
	seconds := m.lasted.Seconds()
	yes := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	switch f {
	case publish:
		return float64(m.acks) / (rate * seconds)
	case post:
		return float64(m.posts) / (rate * perEvent * seconds)
	case disable:
		return yes(m.disabled > 0)
	case mail:
		return float64(m.mails) / float64(2*len(administrators()))
	case record:
		return yes(m.age < current)
	case rest, restLog, restOld:
		good := 0
		for status, n := range m.statuses(f) {
			if status/100 == 2 {
				good += n
			}
		}
		return float64(good) / float64(max(1, len(m.probes[f])))
	}
	return 0
}

// String says what went on.
func (m measured) String() string {
	seconds := m.lasted.Seconds()
	parts := []string{fmt.Sprintf("%.0f acks/s, %.0f POSTs/s", float64(m.acks)/seconds, float64(m.posts)/seconds)}
	if m.disabled > 0 {
		parts = append(parts, fmt.Sprintf("disabled after %s", short(m.disabled)))
	}
	if m.mails > 0 {
		parts = append(parts, fmt.Sprintf("%d mails", m.mails))
	}
	if m.age < current {
		parts = append(parts, "history "+short(m.age)+" behind")
	}
	for _, f := range []flow{rest, restLog, restOld} {
		if share := m.share(f); share > 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f %%", f, 100*share))
		}
	}
	return strings.Join(parts, ", ")
}

// refusals says what was refused, and how.
func (m measured) refusals() string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(m.codes)) {
		parts = append(parts, fmt.Sprintf("%d publishes %s", m.codes[code], code))
	}
	for _, f := range []flow{rest, restLog, restOld} {
		statuses := m.statuses(f)
		for _, status := range slices.Sorted(maps.Keys(statuses)) {
			if status/100 != 2 {
				parts = append(parts, fmt.Sprintf("%s %d (%d times)", f, status, statuses[status]))
			}
		}
	}
	return strings.Join(parts, ", ")
}

func short(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
