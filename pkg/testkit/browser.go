package testkit

import (
	"os"
	"os/exec"
	"testing"
)

// Browser is the path of a Chromium or Chrome on this machine. Without one the test is skipped, or fails if
// TEST_REQUIRE_BROWSER is 1.
func Browser(t testing.TB) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			t.Logf("browser: %s", path)
			return path
		}
	}
	if os.Getenv("TEST_REQUIRE_BROWSER") == "1" {
		t.Fatalf("TEST_REQUIRE_BROWSER=1, and none of %v is on the PATH", names)
	}
	t.Skipf("none of %v is on the PATH", names)
	return ""
}
