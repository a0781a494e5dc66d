package observe

import (
	"context"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
)

// patience bounds every wait for something to happen.
const patience = 45 * time.Second

// platformKey is the key of a Doorstep under test.
const platformKey = "dsk_observe_0123456789abcdef0123456789"

// doorstep is everything in this process, with tracing, until the test ends.
func doorstep(t *testing.T, change ...func(*app.Config)) *app.App {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", testkit.NewCollector(t).URL)
	cfg, err := app.Default(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Egress = egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	cfg.Console.BootstrapKey, cfg.Kafka.RetryTiers = platformKey, "1s,2s,3s"
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("doorstep ended with %v", err)
		}
	}))
	ready, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := a.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
	return a
}

// metric is one that is registered, whether or not it has a value yet.
type metric struct {
	name   string
	labels []string
}

// description is what prometheus.Desc.String says.
var description = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// registered are the metrics of a registry, by name.
func registered(t *testing.T, r *prometheus.Registry) map[string]metric {
	t.Helper()
	descriptions := make(chan *prometheus.Desc)
	go func() {
		r.Describe(descriptions)
		close(descriptions)
	}()
	all := map[string]metric{}
	for d := range descriptions {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		one := all[m[1]]
		one.name = m[1]
		for label := range strings.SplitSeq(m[2], ",") {
			if name, _, found := strings.Cut(label, "="); found {
				one.labels = append(one.labels, name)
			}
		}
		for label := range strings.SplitSeq(m[3], ",") {
			if label = strings.TrimSpace(label); label != "" {
				one.labels = append(one.labels, label)
			}
		}
		slices.Sort(one.labels)
		one.labels = slices.Compact(one.labels)
		all[m[1]] = one
	}
	return all
}

// bounded are the labels that metrics may have, and why each has few values.
var bounded = map[string]string{
	"service":    "six services",
	"version":    "one of a process", // also of Go, in go_info
	"go_version": "one of a process",
	"commit":     "one of a process",
	"outcome":    "stable codes of pkg/publish, pkg/post and pkg/trace",
	"fate":       "four of the sender",
	"lane":       "a topic for each tier and parking",
	"state":      "six of the sender",
	"store":      "three",
	"table":      "those of the history",
	"result":     "three of a mail, two of a job",
	"kind":       "of notices, of jobs",
	"reader":     "five services",
	"topic":      "those of Doorstep",
	"route":      "patterns of the API and the pages, never paths",
	"status":     "HTTP's, as the console uses them",
	"by":         "key or address: which kind, never which one",
	"key":        "ids of sealing keys, from the settings",
	"type":       "event types, 200 at most, then \"other types\"",
	"validate":   "reject or warn",
	"le":         "buckets",
	"quantile":   "of the Go runtime",
	"bound":      "senders or receivers",
}

func TestLabelsAreBounded(t *testing.T) {
	for _, m := range registered(t, doorstep(t).Metrics()) {
		for _, label := range m.labels {
			if _, ok := bounded[label]; !ok {
				t.Errorf("%s has the label %s: if its values are few whatever customers do, say so in bounded", m.name, label)
			}
		}
		if strings.HasPrefix(m.name, "doorstep_") && !slices.Contains(m.labels, "service") && !ofTheProcess[m.name] {
			t.Errorf("%s has no label service: register it with what the service is given", m.name)
		}
	}
}

// ofTheProcess are metrics that no one service has.
var ofTheProcess = map[string]bool{
	"doorstep_build_info": true, "doorstep_spans_total": true,
	"doorstep_embedded_log_bytes": true, "doorstep_embedded_disk_free_bytes": true, "doorstep_embedded_log_trimmed_bytes_total": true,
}

// Whatever customers do, there are no more series than this, and none of what they wrote is in them.
func TestWhatCustomersWriteIsNotInMetrics(t *testing.T) {
	a := doorstep(t)
	ids := use(t, a)
	families, err := a.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	const most = 250 // series of one metric; that of event types has 200 and one
	for _, f := range families {
		if n := len(f.GetMetric()); n > most {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
		text := f.String()
		for name, id := range ids {
			if strings.Contains(text, id) {
				t.Errorf("%s holds the %s %s", f.GetName(), name, id)
			}
		}
	}
	problems, err := testutil.GatherAndLint(a.Metrics())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "doorstep_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
