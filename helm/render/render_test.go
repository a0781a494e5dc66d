// Package render renders the chart with helm's own libraries and compares that with the goldens. It is a module of its own,
// outside the workspace: those libraries bring Kubernetes' clients, which take minutes to compile and nothing else needs.
package render

import (
	"encoding/base64"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

var update = flag.Bool("update", false, "write the goldens")

const (
	chartDir  = "../doorstep"
	goldenDir = "../testdata"
)

// oldest is the oldest Kubernetes that Chart.yaml allows.
var oldest = chartutil.KubeVersion{Version: "v1.30.0", Major: "1", Minor: "30"}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cases are the files of values, by name.
func cases(t *testing.T) map[string]chartutil.Values {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files of values: %v", len(files), err)
	}
	all := make(map[string]chartutil.Values)
	for _, file := range files {
		values, err := chartutil.ReadValuesFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = values
	}
	return all
}

// render is what helm template prints, with the notes apart.
func render(t *testing.T, values chartutil.Values) (objects, notes string, err error) {
	t.Helper()
	return renderBy(t, engine.Render, values)
}

type renderer func(*chart.Chart, chartutil.Values) (map[string]string, error)

func renderBy(t *testing.T, by renderer, values chartutil.Values, apis ...string) (objects, notes string, err error) {
	t.Helper()
	c := load(t)
	caps := &chartutil.Capabilities{KubeVersion: oldest, APIVersions: slices.Concat(chartutil.DefaultVersionSet, apis)}
	release := chartutil.ReleaseOptions{Name: "acme", Namespace: "webhooks", Revision: 1, IsInstall: true}
	top, err := chartutil.ToRenderValues(c, values, release, caps)
	if err != nil {
		return "", "", err
	}
	files, err := by(c, top)
	if err != nil {
		return "", "", err
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := strings.TrimSpace(files[name])
		if strings.HasSuffix(name, "NOTES.txt") {
			notes = text
		} else if text != "" && !strings.HasSuffix(name, ".tpl") {
			b.WriteString("# Source: " + name + "\n---\n" + strings.TrimPrefix(text, "---\n") + "\n---\n")
		}
	}
	return b.String(), notes, nil
}

// Generated keys differ each time; checked here is that they are what the program takes.
var generated = regexp.MustCompile(`(?m)^  (bootstrap-key|sealing-keys): ([A-Za-z0-9+/=]+)$`)

func TestGoldens(t *testing.T) {
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			got, notes, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"<no value>", "<nil>", "%!", "e+0"} {
				if strings.Contains(got, bad) || strings.Contains(notes, bad) {
					t.Errorf("%q is in what is rendered", bad)
				}
			}
			got = generated.ReplaceAllString(got, "  $1: Z2VuZXJhdGVk") + "# NOTES\n# " + strings.ReplaceAll(notes, "\n", "\n# ") + "\n"
			got = regexp.MustCompile(`(?m)[ \t]+$`).ReplaceAllString(got, "")
			file := filepath.Join(goldenDir, name+".yaml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is not what the chart renders: %s\ngo -C helm/render test -update writes it", file, firstDifference(string(want), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return "\n-" + w[i] + "\n+" + g[i]
		}
	}
	return "one is longer"
}

func TestLint(t *testing.T) {
	for name, values := range cases(t) {
		linter := lint.AllWithKubeVersion(chartDir, values, "webhooks", &oldest)
		for _, m := range linter.Messages {
			if m.Severity > support.InfoSev { // as helm lint --strict
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

// What cannot work ends with the name of the value that is at fault.
func TestWrongValues(t *testing.T) {
	for name, tt := range map[string]struct{ values, want string }{
		"a misspelt value":                       {"sendr: {}", "sendr"},
		"a misspelt value of a service":          {"sender: {replica: 3}", "/sender"},
		"a misspelt value within":                {"kafka: {tls: {enable: true}}", "/kafka/tls"},
		"text for a number":                      {"sender: {replicas: three}", "/sender/replicas"},
		"an unknown kind of scaling":             {"sender: {autoscaling: {kind: hpa}}", "/sender/autoscaling/kind"},
		"a broker without a port":                {"kafka: {brokers: [kafka]}", "/kafka/brokers/0"},
		"no broker":                              {"kafka: {brokers: []}", "kafka.brokers: at least one host:port is required"},
		"no Redis":                               {`redis: {url: ""}`, "redis.url: is required"},
		"no PostgreSQL":                          {`postgres: {url: ""}`, "postgres.url: is required"},
		"another scheme":                         {"postgres: {url: mysql://a}", "/postgres/url"},
		"a password in a value":                  {"redis: {url: 'redis://u:secret@redis:6379'}", "redis.url: holds a password"},
		"more senders than partitions":           {"sender: {autoscaling: {maxReplicas: 13}}", "sender.autoscaling.maxReplicas: 13 is above topics.partitions, 12"},
		"more matchers, not scaled":              {"matcher: {replicas: 20, autoscaling: {kind: none}}", "matcher.replicas: 20 is above topics.partitions, 12"},
		"fewer partitions":                       {"topics: {partitions: 3}", "sender.autoscaling.maxReplicas: 12 is above topics.partitions, 3"},
		"least above most":                       {"console: {autoscaling: {minReplicas: 9}}", "console.autoscaling.minReplicas: 9 is above maxReplicas, 4"},
		"CPU of nothing":                         {"defaults: {resources: {requests: {cpu: null}}}", "ingest.resources.requests.cpu: is required"},
		"KEDA for what reads nothing":            {"ingest: {autoscaling: {kind: keda}}", "ingest.autoscaling.kind: keda is for"},
		"a metric that a matcher lacks":          {"matcher: {autoscaling: {kind: keda, keda: {trigger: prometheus}}}", "matcher.autoscaling.keda.prometheusQuery: is required"},
		"a setting that nobody has":              {"settings: {warn-befor: 3}", "settings.warn-befor: no service has this setting"},
		"a setting with a value of its own":      {"settings: {kafka-brokers: a}", "settings.kafka-brokers: is set by kafka.brokers"},
		"a setting that is a map":                {"settings: {log-level: {a: b}}", "/settings/log-level"},
		"sign-in without a password":             {"kafka: {sasl: {mechanism: PLAIN, user: a}}", "kafka.sasl.user, kafka.sasl.passwordSecret.name: are required"},
		"an unknown mechanism":                   {"kafka: {sasl: {mechanism: GSSAPI}}", "/kafka/sasl/mechanism"},
		"an authority without TLS":               {"kafka: {tls: {caSecret: {name: a}}}", "kafka.tls.enabled: must be true"},
		"Redis's authority without TLS":          {"redis: {caSecret: {name: a}}", "redis.caSecret.name: needs rediss://"},
		"a mail password without server":         {"smtp: {passwordSecret: {name: a}}", "smtp.url: is required"},
		"mutual TLS without TLS":                 {"tls: {clientCASecret: {name: a}}", "tls.secretName: is required with tls.clientCASecret.name"},
		"TLS of probes without TLS":              {"tls: {admin: true}", "tls.secretName: is required with tls.admin"},
		"no time left to drain":                  {"ingest: {preStopSeconds: 30}", "ingest.terminationGracePeriodSeconds: 30 must be above preStopSeconds, 30"},
		"an Ingress without a host":              {"ingress: {http: {hosts: []}}", "ingress.http.hosts: at least one is required"},
		"a host that is a URL":                   {"ingress: {http: {hosts: ['https://a.example.com']}}", "/ingress/http/hosts/0"},
		"a digest that is none":                  {"image: {digest: abc}", "/image/digest"},
		"a variable that is not OpenTelemetry's": {"tracing: {env: {A: b}}", "/tracing/env"},
	} {
		t.Run(name, func(t *testing.T) {
			values, err := chartutil.ReadValues([]byte(tt.values))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err = render(t, values); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\n", " "), tt.want) {
				t.Errorf("%s: error %v, want one with %q", tt.values, err, tt.want)
			}
		})
	}
}

func TestGeneratedKeysAreNew(t *testing.T) {
	first, _, err := render(t, nil)
	second, _, again := render(t, nil)
	if err := errors.Join(err, again); err != nil {
		t.Fatal(err)
	}
	keys := generated.FindAllStringSubmatch(first, -1)
	if len(keys) != 2 {
		t.Fatalf("%d generated keys, want 2", len(keys))
	}
	for i, want := range []string{`^dsk_[A-Za-z0-9]{48}$`, `^k[0-9]{8}:[A-Za-z0-9+/]{43}=\n$`} {
		text, err := base64.StdEncoding.DecodeString(keys[i][2])
		if err != nil || !regexp.MustCompile(want).Match(text) {
			t.Errorf("%s is not what the program takes: %v", keys[i][1], err)
		}
		if strings.Contains(second, keys[i][2]) {
			t.Errorf("%s is the same for two releases", keys[i][1])
		}
	}
}
