package failure_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

// tables reads the tables of doc.go that begin with "event": rows of cells, the column names first.
func tables(t *testing.T) (all [][][]string) {
	t.Helper()
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	bar := regexp.MustCompile(` *\| *`)
	var table [][]string
	for line := range strings.Lines(string(source)) {
		row, isTable := strings.CutPrefix(strings.TrimRight(line, "\n"), "//\t")
		cells := bar.Split(row, -1)
		switch {
		case !isTable:
			if table != nil {
				all = append(all, table)
			}
			table = nil
		case cells[0] == "event", table != nil && !strings.HasPrefix(row, "---"):
			table = append(table, cells)
		}
	}
	return all
}

// The states that stand for a column, each with a notice to write unless it is clean.
var columns = map[string]func(*failure.State){
	"clean":   func(*failure.State) {},
	"failing": func(s *failure.State) { streak(s, 2) },
	"warned":  func(s *failure.State) { streak(s, 3); s.WarnedAt = noon },
	"disabled": func(s *failure.State) {
		streak(s, 5)
		s.WarnedAt, s.Disabled, s.DisabledAt, s.DisableReason = noon, true, noon, failure.DisabledByStreak
	},
	"disabled, no streak": func(s *failure.State) {
		s.Disabled, s.DisabledAt, s.DisableReason = true, noon, failure.DisabledByStreak
		s.PendingNotices = []failure.Notice{{ID: "n"}}
	},
	"not put off": func(*failure.State) {},
	"put off":     func(s *failure.State) { s.DisabledUntil = noon.Add(10 * time.Minute) },
	"wait over":   func(s *failure.State) { s.DisabledUntil = noon.Add(-10 * time.Minute) },
}

func streak(s *failure.State, n int) {
	s.FailStreak, s.FailStreakStartedAt, s.LastFailedAt = n, noon.Add(-time.Hour), noon
	s.PendingNotices = []failure.Notice{{ID: "n"}}
}

func column(name string) failure.State {
	s := start()
	s.Generation, s.Version = 7, 40
	columns[name](&s)
	return s
}

// moved is the state after a row's event.
func moved(s failure.State, event string) (failure.State, []failure.Effect) {
	generation, what := s.Generation, event
	if rest, ok := strings.CutPrefix(event, "older, "); ok {
		generation, what = generation-1, rest
	} else if rest, ok := strings.CutPrefix(event, "newer, "); ok {
		generation, what = generation+1, rest
	}
	policy, outcome := failure.Policy{WarnAfter: 100, DisableAfter: 100}, bad(generation)
	switch what {
	case "success":
		outcome = good(generation)
	case "failure", "any outcome": // below both thresholds
	case "failure, WarnAfter":
		policy.WarnAfter = s.FailStreak + 1
	case "failure, DisableAfter":
		policy = failure.Policy{WarnAfter: s.FailStreak + 1, DisableAfter: s.FailStreak + 1}
	case "410 Gone":
		outcome = gone(generation)
	case "asks", "asks for longer":
		outcome.RetryAfter = time.Hour
	case "asks for less":
		outcome.RetryAfter = time.Minute
	case "notice written":
		return s.Written("n"), nil
	default:
		panic("no such event: " + event)
	}
	return failure.Apply(s, policy, []failure.Outcome{outcome})
}

// letters are effects as the tables name them.
func letters(t *testing.T, effects []failure.Effect) (out string) {
	for _, e := range effects {
		switch {
		case e.Kind == failure.StreakStarted:
			out += "S"
		case e.Kind == failure.StreakEnded:
			out += "E"
		case e.Kind == failure.PutOff:
			out += "P"
		case e.Kind == failure.Warned && e.Notice.Kind == failure.NoticeWarning:
			out += "W"
		case e.Kind == failure.Disabled && e.Notice.Kind == failure.NoticeDisabled:
			out += "D"
		case e.Kind == failure.Disabled && e.Notice.Kind == failure.NoticeGone:
			out += "G"
		default:
			t.Errorf("effect %s with a notice of kind %q", e.Kind, e.Notice.Kind)
		}
	}
	return out
}

func nameOf(s failure.State) string {
	switch {
	case s.Disabled && s.FailStreak == 0:
		return "none"
	case s.Disabled:
		return "disabled"
	case !s.WarnedAt.IsZero():
		return "warned"
	case s.FailStreak > 0:
		return "failing"
	}
	return "clean"
}

func waitOf(s failure.State, was time.Time) string {
	switch {
	case s.DisabledUntil.IsZero():
		return "not"
	case s.DisabledUntil.Before(noon):
		return "wait over"
	case s.DisabledUntil.After(was) && was.After(noon):
		return "longer"
	}
	return "put off"
}

// The first table of the package's documentation, cell by cell.
func TestTheTableOfStates(t *testing.T) {
	table := tables(t)[0]
	if len(table) != 11 || len(table[0]) != 6 {
		t.Fatalf("%d rows of %d columns", len(table), len(table[0]))
	}
	for _, row := range table[1:] {
		for i, want := range row[1:] {
			from := table[0][i+1]
			was := column(from)
			s, effects := moved(was, row[0])
			got := nameOf(s)
			if l := letters(t, effects); l != "" {
				got += " " + l
			}
			if cmp.Equal(was, s) {
				got = "-"
			}
			if got != want {
				t.Errorf("%s, %s: %s, the table says %s", from, row[0], got, want)
			}
			if changed := got != "-"; changed != s.Newer(was) || changed && s.Version != was.Version+1 {
				t.Errorf("%s, %s: version %d follows %d", from, row[0], s.Version, was.Version)
			}
			if row[0] == "notice written" && len(s.PendingNotices) > 0 || row[0] != "notice written" && len(s.PendingNotices) < len(was.PendingNotices) {
				t.Errorf("%s, %s: notices %v, they were %v", from, row[0], s.PendingNotices, was.PendingNotices)
			}
		}
	}
}

// The second one, of waits.
func TestTheTableOfWaits(t *testing.T) {
	table := tables(t)[1]
	if len(table) != 8 || len(table[0]) != 4 {
		t.Fatalf("%d rows of %d columns", len(table), len(table[0]))
	}
	for _, row := range table[1:] {
		for i, want := range row[1:] {
			was := column(table[0][i+1])
			s, effects := moved(was, row[0])
			got := waitOf(s, was.DisabledUntil)
			if s.Generation > was.Generation {
				got = waitOf(s, time.Time{})
			}
			if strings.Contains(letters(t, effects), "P") {
				got += " P"
			}
			if got != want {
				t.Errorf("%s, %s: %s, the table says %s", table[0][i+1], row[0], got, want)
			}
		}
	}
}
