package helm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	"go.yaml.in/yaml/v3"
)

// versions are the oldest Kubernetes that the chart allows, and the newest.
var versions = []string{"1.30.0", "1.37.0"}

// goldens are what the chart rendered, by the name of the values.
func goldens(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d goldens: %v", len(files), err)
	}
	all := make(map[string][]byte)
	for _, file := range files {
		if all[strings.TrimSuffix(filepath.Base(file), ".yaml")], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// conform is what a version of Kubernetes, and the operators whose kinds we use, would say of objects.
type conform func(objects []byte) error

func conformTo(t *testing.T, version string) conform {
	t.Helper()
	v, err := validator.New([]string{
		"schemas/kubernetes-" + version + "/{{ .ResourceKind }}{{ .KindSuffix }}.json",
		"schemas/crds/{{ .ResourceKind }}{{ .KindSuffix }}.json",
	}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	return func(objects []byte) error {
		var errs []error
		for _, r := range v.Validate("objects", io.NopCloser(bytes.NewReader(objects))) {
			if r.Status == validator.Invalid || r.Status == validator.Error {
				sig, _ := r.Resource.Signature()
				errs = append(errs, errors.New(sig.Kind+" "+sig.Name+": "+r.Err.Error()))
			}
		}
		return errors.Join(errs...)
	}
}

func TestObjectsConform(t *testing.T) {
	for _, version := range versions {
		conform := conformTo(t, version)
		for name, objects := range goldens(t) {
			if err := conform(objects); err != nil {
				t.Errorf("%s, Kubernetes %s: %v", name, version, err)
			}
		}
	}
}

// The check above must be able to fail.
func TestPlantedFaultsAreFound(t *testing.T) {
	all, conform := goldens(t), conformTo(t, versions[0])
	for name, tt := range map[string]struct{ golden, old, planted string }{
		"a misspelt field of a pod":       {"default", "terminationGracePeriodSeconds:", "terminationGracePeriodSecond:"},
		"text for a number":               {"default", "containerPort: 8081", "containerPort: grpc-port"},
		"no selector":                     {"default", "podManagementPolicy: Parallel", "podManagement: Parallel"},
		"an HPA without its target":       {"default", "scaleTargetRef:", "scaleTarget:"},
		"a policy of another shape":       {"default", "policyTypes:", "policyType:"},
		"a ServiceMonitor's endpoint":     {"default", "scrapeTimeout:", "scrapeTime:"},
		"a PodMonitor's selector":         {"keda", "podMetricsEndpoints:", "podEndpoints:"},
		"a ScaledObject's trigger":        {"keda", "bootstrapServers:", "bootstrapServers: [a]\n        x:"},
		"a ScaledObject's bound":          {"keda", "maxReplicaCount: 48", "maxReplicaCount: many"},
		"a TriggerAuthentication's field": {"external", "secretTargetRef:", "secretRef:"},
		"an Ingress path without a type":  {"default", "pathType: Prefix", "type: Prefix"},
		"a Job's policy":                  {"default", "backoffLimit: 6", "backoffLimit: six"},
	} {
		t.Run(name, func(t *testing.T) {
			planted := bytes.Replace(all[tt.golden], []byte(tt.old), []byte(tt.planted), 1)
			if bytes.Equal(planted, all[tt.golden]) {
				t.Fatalf("%q is not in %s", tt.old, tt.golden)
			}
			if conform(planted) == nil {
				t.Errorf("%s: %q was not found", tt.golden, tt.planted)
			}
		})
	}
}

// object is what the checks below look at of any kind.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
		Annotations     map[string]string
	}
	Data map[string]string
	Spec map[string]any
}

func objects(t *testing.T, golden []byte) []object {
	t.Helper()
	var all []object
	for d := yaml.NewDecoder(bytes.NewReader(golden)); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Kind != "" {
			all = append(all, o)
		}
	}
}

// get is what stands at a path of maps and lists: of a list, its first.
func get(v any, path ...string) any {
	for _, p := range path {
		if l, ok := v.([]any); ok && len(l) > 0 {
			v = l[0]
		}
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// pod is the pod of an object; nil if it makes none.
func (o object) pod() any {
	switch o.Kind {
	case "Pod":
		return o.Spec
	case "Deployment", "StatefulSet", "Job":
		return get(o.Spec, "template", "spec")
	}
	return nil
}

// Default values show every kind that the chart can make but those that exclude one another.
func TestDefaultsRenderEveryKind(t *testing.T) {
	var got []string
	for _, o := range objects(t, goldens(t)["default"]) {
		got = append(got, o.Kind)
	}
	slices.Sort(got)
	got = slices.Compact(got)
	want := []string{"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy", "Pod", "PodDisruptionBudget", "PrometheusRule",
		"Secret", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet"}
	if !slices.Equal(got, want) {
		t.Errorf("kinds %v,\nwant  %v", got, want)
	}
}

// What Prometheus and Grafana are given is what stands in files, but where values turn it off.
func TestAlertsAndDashboardAreThere(t *testing.T) {
	type group struct {
		Rules []struct{ Alert, Expr string }
	}
	files := decode[struct{ Groups []group }](t, read(t, "files", "alerts.yaml"))
	var alerts []any
	for _, g := range files.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Expr)
		}
	}
	if len(alerts) < 10 {
		t.Fatalf("%d rules in files/alerts.yaml", len(alerts))
	}
	for name, golden := range goldens(t) {
		rules, dashboards := 0, 0
		for _, o := range objects(t, golden) {
			if text, ok := o.Data["doorstep.json"]; ok && o.Kind == "ConfigMap" && o.Metadata.Labels["grafana_dashboard"] == "1" {
				dashboards++
				if text != strings.TrimSpace(string(read(t, "files", "dashboard.json"))) {
					t.Errorf("%s: the dashboard is not that of files/dashboard.json", name)
				}
			}
			if o.Kind == "PrometheusRule" {
				rules++
				var got []any
				groups, _ := get(o.Spec, "groups").([]any)
				for _, g := range groups {
					rules, _ := get(g, "rules").([]any)
					for _, r := range rules {
						got = append(got, get(r, "expr"))
					}
				}
				if !slices.Equal(got, alerts) {
					t.Errorf("%s: the rules are not those of files/alerts.yaml", name)
				}
			}
		}
		want := 1
		if name == "minimal" || name == "pods" {
			want = 0
		}
		if rules != want || dashboards != want {
			t.Errorf("%s: %d PrometheusRules and %d dashboards, want %d of each", name, rules, dashboards, want)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	for name, golden := range goldens(t) {
		seen := make(map[string]bool)
		for _, o := range objects(t, golden) {
			id := o.Kind + " " + o.Metadata.Name
			if seen[id] {
				t.Errorf("%s: %s is there twice", name, id)
			}
			seen[id] = true
			if len(o.Metadata.Name) > 63 || o.Metadata.Namespace == "" {
				t.Errorf("%s: %s: a name above 63 characters, or no namespace", name, id)
			}
		}
	}
}

func TestPodsAreRestricted(t *testing.T) {
	for name, golden := range goldens(t) {
		for _, o := range objects(t, golden) {
			pod := o.pod()
			if pod == nil {
				continue
			}
			for what, ok := range map[string]bool{
				"runs as 65532":            get(pod, "securityContext", "runAsUser") == 65532 && get(pod, "securityContext", "runAsNonRoot") == true,
				"seccomp RuntimeDefault":   get(pod, "securityContext", "seccompProfile", "type") == "RuntimeDefault",
				"a read-only root":         get(pod, "containers", "securityContext", "readOnlyRootFilesystem") == true,
				"no privilege escalation":  get(pod, "containers", "securityContext", "allowPrivilegeEscalation") == false,
				"no capabilities":          slices.Equal(get(pod, "containers", "securityContext", "capabilities", "drop").([]any), []any{"ALL"}),
				"no token":                 get(pod, "automountServiceAccountToken") == false,
				"no variables of Services": get(pod, "enableServiceLinks") == false,
				"a memory limit":           get(pod, "containers", "resources", "limits", "memory") != nil,
			} {
				if !ok {
					t.Errorf("%s: %s %s: not so: %s", name, o.Kind, o.Metadata.Name, what)
				}
			}
		}
	}
}

// Everything that selects pods selects some, and a workload's objects know it by the same labels.
func TestSelectorsFindPods(t *testing.T) {
	for name, golden := range goldens(t) {
		var pods []map[string]any
		all := objects(t, golden)
		for _, o := range all {
			if labels, ok := get(o.Spec, "template", "metadata", "labels").(map[string]any); ok {
				pods = append(pods, labels)
			}
		}
		for _, o := range all {
			selector, _ := map[string]any{
				"Service": get(o.Spec, "selector"), "PodDisruptionBudget": get(o.Spec, "selector", "matchLabels"),
				"NetworkPolicy": get(o.Spec, "podSelector", "matchLabels"), "Deployment": get(o.Spec, "selector", "matchLabels"),
				"StatefulSet": get(o.Spec, "selector", "matchLabels"), "PodMonitor": get(o.Spec, "selector", "matchLabels"),
			}[o.Kind].(map[string]any)
			if selector != nil && !slices.ContainsFunc(pods, func(labels map[string]any) bool { return within(selector, labels) }) {
				t.Errorf("%s: %s %s selects no pod: %v", name, o.Kind, o.Metadata.Name, selector)
			}
		}
	}
}

func within(selector, labels map[string]any) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}
