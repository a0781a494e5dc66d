package observe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	root          = "../../.."
	dashboardFile = "helm/doorstep/files/dashboard.json"
	alertsFile    = "helm/doorstep/files/alerts.yaml"
	alertTests    = "deploy/prometheus/alerts_test.yaml"
	runbookFile   = "deploy/runbook.md"
	runbookURL    = "https://github.com/doorstep-dev/doorstep/blob/main/deploy/runbook.md#"
)

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// panel is a panel of the dashboard, as far as it matters here.
type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ UID string }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ Expr, LegendFormat string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal([]byte(file(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d.Panels
}

// plain is a panel's query as Prometheus gets it when all is chosen.
func plain(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*", "$job", ".*").Replace(expr)
}

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var rules struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal([]byte(file(t, alertsFile)), &rules); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range rules.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// ofScraping are labels that Prometheus adds.
var ofScraping = []string{"__name__", "namespace", "job", "instance", "pod"}

var (
	text     = regexp.MustCompile(`"[^"]*"`)
	ours     = regexp.MustCompile(`\b(?:doorstep|process|go)_[a-z_]+`)
	selector = regexp.MustCompile(`\b((?:doorstep|process|go)_[a-z_]+)\{([^}]*)\}`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// check holds the names of a query against what is registered. Whether Prometheus takes it is for promtool (make alerts) and for the
// test with a real one.
func check(t *testing.T, where, expr string, known map[string]metric) {
	t.Helper()
	expr = text.ReplaceAllString(expr, `""`)
	var of []metric
	for _, name := range ours.FindAllString(expr, -1) {
		m, ok := find(known, name)
		if !ok {
			t.Errorf("%s: no service has a metric %s", where, name)
		}
		of = append(of, m)
	}
	if len(of) == 0 {
		t.Errorf("%s: no metric in %s", where, expr)
	}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		m, _ := find(known, s[1])
		for match := range strings.SplitSeq(s[2], ",") {
			if label := strings.TrimRight(strings.TrimSpace(match), `=~!"`); !has(m, label) {
				t.Errorf("%s: %s has no label %s", where, s[1], label)
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if label = strings.TrimSpace(label); !slices.ContainsFunc(of, func(m metric) bool { return has(m, label) }) {
				t.Errorf("%s: by %s, which no metric there has", where, label)
			}
		}
	}
}

// find is the metric that a name of a query belongs to; histograms have three.
func find(known map[string]metric, name string) (metric, bool) {
	for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
		if m, ok := known[strings.TrimSuffix(name, suffix)]; ok && strings.HasSuffix(name, suffix) {
			return m, true
		}
	}
	return metric{}, false
}

func has(m metric, label string) bool {
	return slices.Contains(m.labels, label) || slices.Contains(ofScraping, label) || label == "le"
}

func TestQueriesNameWhatThereIs(t *testing.T) {
	known := registered(t, doorstep(t).Metrics())
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			check(t, "panel "+p.Title, plain(target.Expr), known)
		}
	}
	for _, a := range alerts(t) {
		check(t, "alert "+a.Alert, a.Expr, known)
	}
}

func TestPanelsAreComplete(t *testing.T) {
	ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for _, p := range panels(t) {
		if ids[p.ID] || titles[p.Type+p.Title] {
			t.Errorf("panel %d, %s, stands twice", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Type+p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, is := taken[[2]int{x, y}]; is || x > 23 {
					t.Fatalf("%s lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %s lacks a description, unit, data source or query: %+v", p.Title, p)
		}
		for _, target := range p.Targets {
			if target.LegendFormat == "" || !strings.Contains(target.Expr, `namespace=~"$namespace", job=~"$job"`) {
				t.Errorf("panel %s: a query without legend, namespace or job: %s", p.Title, target.Expr)
			}
		}
	}
}

var (
	section = regexp.MustCompile(`(?m)^## (Doorstep\w+)$`)
	named   = regexp.MustCompile(`(?:^|[^*])\*([A-Z][A-Za-z' ]+)\*(?:$|[^*])`)
	setting = regexp.MustCompile("DOORSTEP_[A-Z_]+")
	command = regexp.MustCompile("`doorstep ([a-z-]+)")
	anchor  = regexp.MustCompile(`\]\(#([^)]*)\)`)
)

func TestAlertsHaveTheirRunbook(t *testing.T) {
	book, tests := file(t, runbookFile), file(t, alertTests)
	sections := map[string]bool{}
	for _, s := range section.FindAllStringSubmatch(book, -1) {
		sections[s[1]] = true
	}
	for _, a := range alerts(t) {
		if !sections[a.Alert] {
			t.Errorf("the runbook has no section %s", a.Alert)
		}
		delete(sections, a.Alert)
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s is of severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" || a.Annotations["runbook_url"] != runbookURL+strings.ToLower(a.Alert) {
			t.Errorf("annotations of %s: %v", a.Alert, a.Annotations)
		}
		if !strings.Contains(tests, a.Alert) {
			t.Errorf("%s has no test in %s", a.Alert, alertTests)
		}
	}
	for s := range sections {
		t.Errorf("the runbook's section %s is of no alert", s)
	}
}

// What the runbook tells people to look at must be there.
func TestTheRunbookNamesWhatThereIs(t *testing.T) {
	book := file(t, runbookFile)
	titles := map[string]bool{}
	for _, p := range panels(t) {
		titles[p.Title] = true
	}
	for _, m := range named.FindAllStringSubmatch(book, -1) {
		if !titles[m[1]] {
			t.Errorf("the dashboard has no panel %q", m[1])
		}
	}
	help := file(t, "services/doorstep/testdata/services-help.txtar") + file(t, "services/doorstep/testdata/client-help.txtar")
	for _, name := range setting.FindAllString(book, -1) {
		if !strings.Contains(help, name) {
			t.Errorf("there is no setting %s", name)
		}
	}
	for _, m := range command.FindAllStringSubmatch(book, -1) {
		if !strings.Contains(help, "doorstep "+m[1]) && !strings.Contains(help, "  "+m[1]+" ") {
			t.Errorf("there is no command doorstep %s", m[1])
		}
	}
	anchors := strings.ToLower(strings.Join(section.FindAllString(book, -1), "\n"))
	for _, m := range anchor.FindAllStringSubmatch(book, -1) {
		if !strings.Contains(anchors, "## "+m[1]) {
			t.Errorf("the runbook has no section #%s", m[1])
		}
	}
	known := registered(t, doorstep(t).Metrics())
	for name := range metricsIn(book) {
		if _, ok := find(known, name); !ok {
			t.Errorf("no service has a metric %s", name)
		}
	}
}

func metricsIn(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile("doorstep_[a-z_]+").FindAllString(text, -1) {
		found[m] = true
	}
	return found
}
