package upgrade

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

// before is the commit of the older program where nothing names another and there is no tag: before the management API.
const before = "629daf9a6f824332e35a6dfbb2f14178f2058c54"

// programs are the older build and this one.
func programs(t *testing.T) (older, newer string) {
	t.Helper()
	newer, err := cluster.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if older = os.Getenv("UPGRADE_PROGRAM"); older != "" {
		t.Logf("older: %s", older)
		return older, newer
	}
	commit := olderCommit(t)
	older, err = buildAt(t.TempDir(), commit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("older: %s", commit)
	return older, newer
}

// olderCommit is the commit to build; where it is not in this clone the test ends here.
func olderCommit(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("UPGRADE_FROM"); named != "" {
		if _, err := git("rev-parse", "--verify", "--quiet", named+"^{commit}"); err != nil {
			t.Fatalf("UPGRADE_FROM=%s is no commit of this clone", named)
		}
		return named
	}
	tag, _ := git("describe", "--tags", "--abbrev=0", "--match=v*", "HEAD^") // errs where there is none
	commit := cmp.Or(tag, before)
	if _, err := git("rev-parse", "--verify", "--quiet", commit+"^{commit}"); err == nil {
		return commit
	}
	shallow, err := git("rev-parse", "--is-shallow-repository")
	if err == nil && shallow == "false" && os.Getenv("TEST_REQUIRE_REAL") == "1" {
		t.Fatalf("commit %s, to upgrade from, is not in this clone although it is whole; UPGRADE_FROM names another", commit)
	}
	t.Skipf("commit %s, to upgrade from, is not in this clone; `git fetch --unshallow` brings it", commit)
	return ""
}

// TestOlderCommitIsHere holds the commit that stands here against the history of this clone, where there is all of it.
func TestOlderCommitIsHere(t *testing.T) {
	if shallow, err := git("rev-parse", "--is-shallow-repository"); err != nil || shallow != "false" {
		t.Skipf("no history to look into: %s, %v", shallow, err)
	}
	if _, err := git("merge-base", "--is-ancestor", before, "HEAD"); err != nil {
		t.Errorf("the older commit is not before this one: %v", err)
	}
}

// buildAt builds the program of a commit into dir, from a copy of its files.
func buildAt(dir, commit string) (string, error) {
	source, program := filepath.Join(dir, "source"), filepath.Join(dir, "doorstep-older")
	if _, err := git("worktree", "add", "--detach", "--force", source, commit); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", program, "./services/doorstep")
	build.Dir = source
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build doorstep of %s: %w\n%s", commit, err, out)
	}
	_, removed := git("worktree", "remove", "--force", source)
	return program, errors.Join(err, removed)
}

func git(args ...string) (string, error) {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}
