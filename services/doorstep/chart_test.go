package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/cli"
)

// chartCommands are the commands that the chart runs.
var chartCommands = []string{"up", "ingest", "matcher", "sender", "recorder", "notifier", "console", "topics apply", "migrate"}

const chartSettings = "../../helm/doorstep/files/settings.yaml"

// A setting is a flag with an environment variable.
var settingOfHelp = regexp.MustCompile(`(?s)^(?:\[no-\])?([a-z0-9-]+).*\(\$(DOORSTEP_[A-Z0-9_]+)\)`)

// settingsOf are the variables of a command by their flags, as its help has them.
func settingsOf(t *testing.T, command string) map[string]string {
	t.Helper()
	var out bytes.Buffer
	if code := cli.Main(append(strings.Fields(command), "--help"), cli.IO{Out: &out, Err: io.Discard}); code != 0 {
		t.Fatalf("%s --help exits with %d", command, code)
	}
	all := make(map[string]string)
	for _, flag := range regexp.MustCompile(`(?m)^ +(?:-[a-z], )?--`).Split(out.String(), -1)[1:] {
		if m := settingOfHelp.FindStringSubmatch(flag); m != nil && m[1] != "config" {
			all[m[1]] = m[2]
		}
	}
	return all
}

// The chart gives each service the settings that it knows, and calls any other an error: the list is the program's own.
func TestChartKnowsTheSettings(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("# What each command can be set, by flag, and its variable: made of the program by `go test ./services/doorstep -update`.\n")
	for _, command := range chartCommands {
		b.WriteString(command + ":\n")
		settings := settingsOf(t, command)
		for _, flag := range slices.Sorted(maps.Keys(settings)) {
			b.WriteString("  " + flag + ": " + settings[flag] + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(chartSettings, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(chartSettings)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Error("helm/doorstep/files/settings.yaml does not have the program's settings; go test ./services/doorstep -update writes it")
	}
}

// chartObject is what matters of an object that the chart renders.
type chartObject struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Args    []string
					Env     []struct{ Name string }
					EnvFrom []struct {
						ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
					} `yaml:"envFrom"`
				}
			}
		}
	}
}

// The program ignores a variable that it does not know: a name that the chart invents would go unnoticed.
func TestChartInventsNoSetting(t *testing.T) {
	goldens, err := filepath.Glob("../../helm/testdata/*.yaml")
	if err != nil || len(goldens) == 0 {
		t.Fatalf("no goldens of the chart: %v", err)
	}
	seen := 0
	for _, golden := range goldens {
		b, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		configs, workloads := chartObjects(t, b)
		for _, w := range workloads {
			main := w.Spec.Template.Spec.Containers[0]
			command := strings.Join(slices.DeleteFunc(slices.Clone(main.Args), func(a string) bool { return strings.HasPrefix(a, "-") }), " ")
			known := settingsOf(t, command)
			var given []string
			for _, e := range main.Env {
				given = append(given, e.Name)
			}
			for _, from := range main.EnvFrom {
				for name := range configs[from.ConfigMapRef.Name] {
					given = append(given, name)
				}
			}
			for _, name := range given {
				if !strings.HasPrefix(name, "DOORSTEP_") {
					continue
				}
				seen++
				if !slices.Contains(slices.Collect(maps.Values(known)), name) {
					t.Errorf("%s: %s: %s is no setting of doorstep %s", filepath.Base(golden), w.Metadata.Name, name, command)
				}
			}
		}
	}
	if seen < 200 {
		t.Errorf("%d settings in all goldens: this test does not see them", seen)
	}
}

// chartObjects are the data of ConfigMaps, and what runs pods of ours.
func chartObjects(t *testing.T, golden []byte) (configs map[string]map[string]string, workloads []chartObject) {
	t.Helper()
	configs = make(map[string]map[string]string)
	for d := yaml.NewDecoder(bytes.NewReader(golden)); ; {
		var o chartObject
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return configs, workloads
		} else if err != nil && o.Kind == "" {
			t.Fatal(err)
		}
		switch o.Kind {
		case "ConfigMap":
			configs[o.Metadata.Name] = o.Data
		case "Deployment", "StatefulSet", "Job":
			workloads = append(workloads, o)
		}
	}
}
