package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// scraper is a Prometheus that scrapes one address each second.
type scraper struct {
	t   *testing.T
	url string
}

// installed is the Prometheus on the PATH. Without TEST_REQUIRE_REAL=1 the test is skipped: it takes half a minute on a busy machine.
func installed(t *testing.T) (program string) {
	t.Helper()
	if os.Getenv("TEST_REQUIRE_REAL") != "1" {
		t.Skip("TEST_REQUIRE_REAL=1 runs it, with the Prometheus on the PATH")
	}
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("TEST_REQUIRE_REAL=1, and there is no Prometheus (Debian: prometheus): ", err)
	}
	t.Log("prometheus: ", program)
	return program
}

// newScraper runs a Prometheus.
func newScraper(t *testing.T, program, target string) scraper {
	t.Helper()
	rules, err := filepath.Abs(filepath.Join(root, alertsFile))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs:\n"+
		"  - {job_name: doorstep, static_configs: [{targets: [%q], labels: {namespace: hooks, pod: doorstep-0}}]}\n", rules, target)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	p := exec.CommandContext(ctx, program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	p.Stdout, p.Stderr = io.Discard, io.Discard
	if err := p.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = p.Wait() // it was killed
	})
	s := scraper{t, "http://" + addr}
	testkit.Eventually(t, patience, func() error {
		_, err := s.get("/-/ready", nil)
		return err
	})
	return s
}

func (s scraper) get(path string, query url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d: %s", resp.StatusCode, body)
	}
	return body, err
}

// sample is one series of an answer.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (s scraper) query(expr string) []sample {
	s.t.Helper()
	body, err := s.get("/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		s.t.Errorf("%s: %v", expr, err)
		return nil
	}
	var answer struct{ Data struct{ Result []sample } }
	if err := json.Unmarshal(body, &answer); err != nil {
		s.t.Fatal(err)
	}
	return answer.Data.Result
}

// rightlyEmpty are the queries that answer nothing of a Doorstep that is well, by their panel and legend.
var rightlyEmpty = map[string]string{
	"Faults quarantined": "everything can be read",
}

// Each query of the dashboard is asked of a real Prometheus that scrapes a Doorstep at work.
func TestTheDashboardShowsAWorkingDoorstep(t *testing.T) {
	program := installed(t)
	a := doorstep(t)
	s := newScraper(t, program, strings.TrimPrefix(a.URL(), "http://"))
	testkit.Eventually(t, patience, func() error {
		use(t, a) // again and again, so that there are rates
		for _, p := range panels(t) {
			for _, target := range p.Targets {
				if len(s.query(plain(target.Expr))) == 0 && rightlyEmpty[p.Title+" "+target.LegendFormat] == "" {
					return fmt.Errorf("panel %s is empty: %s", p.Title, target.Expr)
				}
			}
		}
		return nil
	})
	t.Logf("%-34s %-24s %6s  %s", "panel", "legend", "series", "first value")
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			got := s.query(plain(target.Expr))
			first := "- " + rightlyEmpty[p.Title+" "+target.LegendFormat]
			if len(got) > 0 {
				first = fmt.Sprint(got[0].Value[1])
			}
			t.Logf("%-34s %-24s %6d  %s", p.Title, target.LegendFormat, len(got), first)
		}
	}
	// What fires depends on times that this test does not wait for; the rules must be taken, and not fail.
	body, err := s.get("/api/v1/rules", nil)
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := json.Unmarshal(body, &rules); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			if n++; r.Health != "ok" {
				t.Errorf("alert %s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n != len(alerts(t)) {
		t.Errorf("%d alerts of %d", n, len(alerts(t)))
	}
}
