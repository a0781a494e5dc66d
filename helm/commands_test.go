package helm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// books are the texts that give commands, by the golden that the commands are for. There the release is called doorstep.
var books = map[string]string{
	"../deploy/runbook.md": "default",
	"../deploy/upgrade.md": "default",
	"../README.md":         "embedded",
	"doorstep/README.md":   "embedded, then default",
}

// kinds are the names that kubectl takes for kinds of the chart.
var kinds = map[string]string{
	"pod": "Pod", "pods": "Pod", "deploy": "Deployment", "deployment": "Deployment", "statefulset": "StatefulSet", "sts": "StatefulSet", "job": "Job",
	"svc": "Service", "service": "Service", "hpa": "HorizontalPodAutoscaler", "secret": "Secret", "configmap": "ConfigMap", "cm": "ConfigMap",
	"scaledobject": "ScaledObject", "pdb": "PodDisruptionBudget", "networkpolicy": "NetworkPolicy", "pvc": "PersistentVolumeClaim",
}

// kubectlVerbs are those that a command here may have; a verb with "of" is followed by the name of a pod, or by KIND/NAME.
var kubectlVerbs = map[string]string{
	"get": "kind", "describe": "kind", "delete": "kind", "patch": "kind", "annotate": "kind", "scale": "kind",
	"exec": "of", "logs": "of", "port-forward": "of",
}

// Flags that take a value which names nothing of the chart.
var valueFlags = []string{"-n", "--namespace", "--replicas", "-o", "-p", "--type", "--tail", "--since", "-f", "--timeout"}

var (
	spans  = regexp.MustCompile("(?s)```[a-z]*\n(.*?)```|`([^`]+)`")
	tokens = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
	// A word in capitals stands for what the reader fills in.
	placeholder = regexp.MustCompile(`^[A-Z][A-Z0-9-]*$`)
)

// commandsOf are the commands of kubectl and helm in a text.
func commandsOf(text string) []string {
	var all []string
	for _, m := range spans.FindAllStringSubmatch(text, -1) {
		lines := strings.Split(m[1], "\n")
		if m[2] != "" {
			lines = []string{strings.ReplaceAll(m[2], "\n", " ")}
		}
		for _, line := range lines {
			line, _, _ = strings.Cut(line, " #")
			line, _, _ = strings.Cut(line, " | ")
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "kubectl ") || strings.HasPrefix(line, "helm ") {
				all = append(all, line)
			}
		}
	}
	return all
}

// judge says what a command names that is not in a golden; nil if all of it is.
func judge(command string, all []object, values map[string]any) error {
	words := tokens.FindAllString(command, -1)
	if words[0] == "helm" {
		return judgeHelm(words, values)
	}
	c := kubectl{all: all}
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch next := words[min(i+1, len(words)-1)]; {
		case w == "--":
			i = len(words) // what runs in the pod
		case w == "-l" || w == "-c":
			c.names = true
			if err := map[string]func(string) error{"-l": c.label, "-c": c.container}[w](next); err != nil {
				return err
			}
			i++
		case slices.Contains(valueFlags, w):
			i++
		case !strings.HasPrefix(w, "-"):
			c.plain = append(c.plain, w)
		}
	}
	return c.check()
}

// kubectl is a command of it, read.
type kubectl struct {
	all   []object
	plain []string // verb, and what is no flag
	names bool     // it has named something by a flag
}

func (c *kubectl) check() error {
	if len(c.plain) == 0 {
		return nil
	}
	verb, rest := c.plain[0], c.plain[1:]
	shape, ok := kubectlVerbs[verb]
	if !ok {
		return fmt.Errorf("this test does not know kubectl %s", verb)
	}
	if len(rest) == 0 {
		if c.names {
			return nil
		}
		return fmt.Errorf("kubectl %s of nothing", verb)
	}
	kind, name, joined := strings.Cut(rest[0], "/")
	after := rest[1:]
	if !joined && shape == "of" {
		kind, name = "pod", rest[0]
	} else if !joined && len(after) > 0 {
		name, after = after[0], after[1:]
	}
	if kinds[kind] == "" {
		return fmt.Errorf("this test does not know the kind %q", kind)
	}
	found := c.find(kinds[kind], name)
	if len(found) == 0 {
		return fmt.Errorf("there is no %s %s", kinds[kind], name)
	}
	if verb != "port-forward" {
		return nil
	}
	for _, port := range after {
		if !slices.ContainsFunc(found, func(o object) bool { return o.listens(port) }) {
			return fmt.Errorf("nothing of %s %s listens on %s", kind, name, port)
		}
	}
	return nil
}

// find are the objects of a kind that a name is of; what stands for any, of any.
func (c *kubectl) find(kind, name string) []object {
	var found []object
	for _, o := range c.all {
		is := o.Kind == kind && o.Metadata.Labels["app.kubernetes.io/component"] != "test"
		if kind == "Pod" { // pods are those of workloads
			is = o.Kind == "Deployment" || o.Kind == "StatefulSet"
		}
		if is && (name == "" || placeholder.MatchString(name) || o.Metadata.Name == release(o)+strings.TrimPrefix(name, "doorstep")) {
			found = append(found, o)
		}
	}
	return found
}

// release is what the golden's release is called where the texts say doorstep.
func release(o object) string { return o.Metadata.Labels["app.kubernetes.io/instance"] + "-doorstep" }

func (c *kubectl) label(selector string) error {
	want := make(map[string]any)
	for pair := range strings.SplitSeq(selector, ",") {
		k, v, _ := strings.Cut(pair, "=")
		want[k] = v
	}
	for _, o := range c.all {
		labels, ok := get(o.Spec, "template", "metadata", "labels").(map[string]any)
		if ok && want["app.kubernetes.io/instance"] == "doorstep" {
			want["app.kubernetes.io/instance"] = labels["app.kubernetes.io/instance"]
		}
		if ok && within(want, labels) {
			return nil
		}
	}
	return fmt.Errorf("no pod has the labels %s", selector)
}

func (c *kubectl) container(name string) error {
	for _, o := range c.all {
		containers, _ := get(o.pod(), "containers").([]any)
		if slices.ContainsFunc(containers, func(it any) bool { return get(it, "name") == name }) {
			return nil
		}
	}
	return fmt.Errorf("no container is called %s", name)
}

// listens tells whether a workload's container, or a Service, has a port: a number or LOCAL:REMOTE.
func (o object) listens(port string) bool {
	_, remote, ok := strings.Cut(port, ":")
	if !ok {
		remote = port
	}
	ports, field := get(o.Spec, "ports"), "port"
	if pod := o.pod(); pod != nil {
		ports, field = get(pod, "containers", "ports"), "containerPort"
	}
	list, _ := ports.([]any)
	return slices.ContainsFunc(list, func(it any) bool {
		number, _ := get(it, field).(int)
		return strconv.Itoa(number) == remote
	})
}

// judgeHelm says which value a command of helm sets that the chart does not have, and whether it names another chart.
func judgeHelm(words []string, values map[string]any) error {
	for i, w := range words {
		if i > 0 && words[i-1] == "--set" {
			path, _, _ := strings.Cut(w, "=")
			if !hasValue(values, strings.Split(path, ".")) {
				return fmt.Errorf("the chart has no value %s", path)
			}
		}
		if strings.HasPrefix(w, "helm/") && w != "helm/doorstep" {
			return fmt.Errorf("there is no chart %s", w)
		}
	}
	return nil
}

// hasValue tells whether there is a value at a path. A service's own block has the keys of defaults.
func hasValue(values map[string]any, path []string) bool {
	if path[0] != "embedded" && slices.Contains(overrides, path[0]) {
		path = append([]string{"defaults"}, path[1:]...)
	}
	var v any = values
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if v, ok = m[p]; !ok {
			return false
		}
	}
	return true
}

// Names in the commands that people are told to give must be those of the chart.
func TestCommandsNameWhatThereIs(t *testing.T) {
	values := decode[map[string]any](t, read(t, "values.yaml"))
	all := goldens(t)
	seen := 0
	for book, names := range books {
		b, err := os.ReadFile(filepath.FromSlash(book))
		if err != nil {
			t.Fatal(err)
		}
		var known []object
		for golden := range strings.SplitSeq(names, ", then ") {
			known = append(known, objects(t, all[golden])...)
		}
		for _, command := range commandsOf(string(b)) {
			seen++
			if err := judge(command, known, values); err != nil {
				t.Errorf("%s: `%s`: %v", book, command, err)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d commands in all: this test does not see them", seen)
	}
}

// The test above must be able to fail.
func TestCommandsOfNothingAreFound(t *testing.T) {
	values := decode[map[string]any](t, read(t, "values.yaml"))
	all := objects(t, goldens(t)["default"])
	for command, want := range map[string]string{
		"kubectl exec deploy/doorstep-console -- doorstep health":            "",
		"kubectl port-forward POD 9090":                                      "",
		"kubectl port-forward svc/doorstep-console 80:8080":                  "",
		"kubectl get pods -l app.kubernetes.io/component=sender":             "",
		"kubectl logs -l app.kubernetes.io/component=sender -c sender":       "",
		"helm upgrade doorstep helm/doorstep --set sender.autoscaling.kind=": "",
		"kubectl exec deploy/doorstep-sender -- doorstep health":             "there is no Deployment doorstep-sender",
		"kubectl scale statefulset/doorstep-senders --replicas 3":            "there is no StatefulSet doorstep-senders",
		"kubectl describe hpa doorstep-notifier":                             "there is no HorizontalPodAutoscaler doorstep-notifier",
		"kubectl describe hpas doorstep-sender":                              `this test does not know the kind "hpas"`,
		"kubectl get secret doorstep-key -o yaml":                            "there is no Secret doorstep-key",
		"kubectl get configmap doorstep-senders":                             "there is no ConfigMap doorstep-senders",
		"kubectl port-forward POD 9099":                                      "nothing of pod POD listens on 9099",
		"kubectl port-forward svc/doorstep-console 9090":                     "nothing of svc doorstep-console listens on 9090",
		"kubectl get pods -l app.kubernetes.io/component=senders":            "no pod has the labels app.kubernetes.io/component=senders",
		"kubectl get pods -l app=doorstep":                                   "no pod has the labels app=doorstep",
		"kubectl logs POD -c doorstep":                                       "no container is called doorstep",
		"kubectl logs job/doorstep-topic":                                    "there is no Job doorstep-topic",
		"kubectl frobnicate POD":                                             "this test does not know kubectl frobnicate",
		"kubectl logs":                                                       "kubectl logs of nothing",
		"helm install doorstep helm/doorstop":                                "there is no chart helm/doorstop",
		"helm upgrade doorstep helm/doorstep --set sender.replica=3":         "the chart has no value sender.replica",
	} {
		got := ""
		if err := judge(command, all, values); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("`%s`: %q, want %q", command, got, want)
		}
	}
}
