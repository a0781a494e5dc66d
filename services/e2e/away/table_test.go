package away

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String is a line of the table.
func (r row) String() string {
	var stopped []string
	if r.waiting > 0 {
		stopped = append(stopped, fmt.Sprintf("%d first POSTs", r.waiting))
	}
	if missing := 2*len(administrators()) - r.measured.mails; missing > 0 {
		stopped = append(stopped, fmt.Sprintf("%d mails", missing))
	}
	if r.measured.age >= current {
		stopped = append(stopped, "history, "+short(r.measured.age))
	}
	if refusals := r.measured.refusals(); refusals != "" {
		stopped = append(stopped, refusals)
	}
	for _, process := range slices.Sorted(maps.Keys(r.measured.unready)) {
		stopped = append(stopped, process+" not ready")
	}
	if len(stopped) == 0 {
		stopped = append(stopped, "nothing")
	}
	doubled := fmt.Sprint(r.report.Repeats - r.report.Forgotten)
	if r.report.Forgotten > 0 {
		doubled += fmt.Sprintf(", and %d published twice", r.report.Forgotten)
	}
	c := r.recovery
	return fmt.Sprintf("| %s, %s | %s | %s | %s (POSTs %s, states %s, mails %s, history %s, outbox %s, ready %s) | %d of %d | %s |", r.fault, short(r.lasted),
		r.measured, strings.Join(stopped, "; "), short(c.all()), short(c.posts), short(c.dead), short(c.mails), short(c.records), short(c.outbox), short(c.ready),
		len(r.report.Lost), r.report.Deliveries, doubled)
}

// table is Markdown.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| fault | what went on | what waited | time to recover | lost | doubled |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}
