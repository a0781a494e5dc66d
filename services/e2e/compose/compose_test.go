// Package compose holds deploy/compose.yaml, and what it mounts, to what it promises.
package compose

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

const deploy = "../../../deploy"

// long are the services that run until they are stopped; each serves an admin address.
var long = []string{"console", "ingest", "matcher", "notifier", "recorder", "sender"} //nolint:gochecknoglobals // a constant

// load reads the file as compose does, which holds it to the schema; the variables are those of .env.example, with
// a value where it has none, but for those left out.
func load(t *testing.T, leftOut ...string) (*types.Project, error) {
	t.Helper()
	example, err := os.ReadFile(filepath.Join(deploy, ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for _, v := range regexp.MustCompile(`(?m)^([A-Z_]+)=$`).FindAllStringSubmatch(string(example), -1) {
		if !slices.Contains(leftOut, v[1]) {
			env = append(env, v[1]+"=given")
		}
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(deploy, "compose.yaml")}, cli.WithEnv(env), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

func loaded(t *testing.T) *types.Project {
	t.Helper()
	project, err := load(t)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// ours are the services that run the program.
func ours(p *types.Project) []types.ServiceConfig {
	return slices.DeleteFunc(slices.Collect(maps.Values(p.Services)), func(s types.ServiceConfig) bool {
		return !strings.Contains(s.Image, "/doorstep:")
	})
}

func TestNothingSecretIsInTheFile(t *testing.T) {
	for _, name := range []string{"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD", "DOORSTEP_KEY", "DOORSTEP_SEALING_KEYS"} {
		if _, err := load(t, name); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "deploy/compose/secrets") {
			t.Errorf("without %s: %v, want an error that names it and says what to run", name, err)
		}
	}
}

func TestOnlyLoopbackIsPublished(t *testing.T) {
	published := 0
	for _, s := range loaded(t).Services {
		for _, port := range s.Ports {
			published++
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q", s.Name, port.Published, port.HostIP)
			}
		}
	}
	if published < 5 {
		t.Errorf("%d ports are published, want those of REST, gRPC, mails, Prometheus and Grafana", published)
	}
}

func TestEveryServiceIsConfined(t *testing.T) {
	p := loaded(t)
	for _, s := range ours(p) {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.MemLimit == 0 {
			t.Errorf("%s may write to its root, has capabilities or any amount of memory", s.Name)
		}
	}
	if n := len(ours(p)); n != len(long)+3 { // topics, migrate, receiver
		t.Errorf("%d services run the program", n)
	}
	if !p.Networks["stores"].Internal {
		t.Error("the stores' network is not internal")
	}
	for _, name := range []string{"kafka", "redis", "postgres", "matcher", "recorder", "notifier"} {
		if networks := slices.Collect(maps.Keys(p.Services[name].Networks)); !slices.Equal(networks, []string{"stores"}) {
			t.Errorf("%s is in %v, and needs the stores alone", name, networks)
		}
	}
}

func TestServicesWaitForWhatTheyNeed(t *testing.T) {
	p := loaded(t)
	for _, name := range long {
		s := p.Services[name]
		if s.DependsOn["topics"].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s does not wait for the topics", name)
		}
		if _, sql := s.Environment["DOORSTEP_POSTGRES_URL"]; sql != (s.DependsOn["migrate"].Condition == types.ServiceConditionCompletedSuccessfully) {
			t.Errorf("%s: has PostgreSQL: %v, and waits for its tables: %v", name, sql, !sql)
		}
		if s.HealthCheck == nil || !slices.Equal(s.HealthCheck.Test, []string{"CMD", "/usr/bin/doorstep", "health"}) {
			t.Errorf("%s has no health check", name)
		}
	}
	sender := p.Services["sender"]
	if n := sender.GetScale(); n != 2 {
		t.Errorf("%d senders", n)
	}
	if _, fixed := sender.Environment["DOORSTEP_INSTANCE"]; fixed {
		t.Error("senders that share an instance fence one another")
	}
}

func TestWhatIsMountedIsThere(t *testing.T) {
	mounted := 0
	for _, s := range loaded(t).Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			mounted++
			t.Run(filepath.Base(v.Target), func(t *testing.T) {
				if !v.ReadOnly || v.Bind.CreateHostPath {
					t.Error("must be read-only, and not made where it is missing")
				}
				read(t, v.Source)
			})
		}
	}
	if mounted < 5 {
		t.Errorf("%d files are mounted", mounted)
	}
}

// read decodes a file of YAML or JSON and fails if it is not.
func read(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if filepath.Ext(file) == ".json" {
		err = json.Unmarshal(text, &content)
	} else {
		err = yaml.Unmarshal(text, &content)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return content
}

func TestPrometheusScrapesEveryService(t *testing.T) {
	text, err := yaml.Marshal(read(t, filepath.Join(deploy, "compose/prometheus.yaml"))["scrape_configs"])
	if err != nil {
		t.Fatal(err)
	}
	p := loaded(t)
	for _, name := range long {
		if !regexp.MustCompile(`(?m)^ *- ` + name + `$`).Match(text) {
			t.Errorf("%s is not scraped", name)
		}
		// A name that is in two networks of Prometheus would be found, and counted, twice.
		shared := 0
		for network := range p.Services["prometheus"].Networks {
			if _, in := p.Services[name].Networks[network]; in {
				shared++
			}
		}
		if shared != 1 {
			t.Errorf("Prometheus reaches %s by %d networks", name, shared)
		}
	}
}
