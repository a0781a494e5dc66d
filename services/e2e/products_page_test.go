package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// README.md says of everything that three products offer for webhooks where it is here, and which test shows it. Each of
// those tests is there.
func TestTheTableOfProductsHolds(t *testing.T) {
	t.Parallel()
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Three products on one API\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, product := range []string{"vPlan", "PlanDocket", "PlanMill"} {
		_, table, _ := strings.Cut(section, "\n### "+product+"\n")
		table, _, _ = strings.Cut(table, "\n### ")
		if lines, tests := checkProofs(t, root, table); lines < 10 || tests < lines {
			t.Errorf("%s: %d lines and %d tests were found", product, lines, tests)
		}
	}
}
