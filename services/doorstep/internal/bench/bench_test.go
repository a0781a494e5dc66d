package bench_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/bench"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/cli"
)

// TestMain lets the test's own program be the doorstep that the bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(cli.Main(os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(m.Run())
}

// The whole command must not rot: cheap cases, with the ceilings that they need, leave a report in each form.
func TestCommand(t *testing.T) {
	for _, name := range []string{"DOORSTEP_KAFKA_BROKERS", "DOORSTEP_REDIS_URL", "DOORSTEP_POSTGRES_URL"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	jsonFile, htmlFile := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.html")
	var out, errs bytes.Buffer
	code := cli.Main([]string{
		"bench", "--time", "200ms", "--rounds", "1", "--only", "ingest-unary,bare-fed,bare-hop", "--json", jsonFile, "--html", htmlFile,
	}, cli.IO{In: strings.NewReader(""), Out: &out, Err: &errs})
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
	t.Logf("%s%s", errs.String(), out.String())

	var r bench.Report
	text, err := os.ReadFile(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range r.Cases {
		names = append(names, c.Name)
		if c.Figures["rate"].Median <= 0 {
			t.Errorf("%s: rate %v", c.Name, c.Figures["rate"])
		}
		if c.Ceiling != "" && c.Ratios["rate"].Median <= 0 {
			t.Errorf("%s: ratio %v to %s", c.Name, c.Ratios["rate"], c.Ceiling)
		}
	}
	if got := strings.Join(names, " "); got != "bare-produce ingest-unary bare-post bare-fed bare-hop" {
		t.Errorf("cases %s", got)
	}
	page, err := os.ReadFile(htmlFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(names, "<svg", "bare-hop") {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	wellFormed(t, page)
	if strings.Contains(string(page), "http://") || strings.Contains(string(page), "https://") {
		t.Error("the page names an address")
	}
}

// wellFormed fails unless every element of a page ends where it should.
func wellFormed(t *testing.T, page []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Entity = xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
	}
}
