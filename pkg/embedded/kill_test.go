//go:build linux && amd64

package embedded

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tracer follows a process and kills it after one of its steps: a call that changes a file or a directory.
type tracer struct {
	dir   string
	in    map[int]bool // threads that are within a call
	steps int
	last  string
}

// runUntil runs work in a process of its own and kills it after its nth step; 0 lets it end. It returns what the
// process has told, and how many steps it made.
func runUntil(t *testing.T, dir string, n int) (said string, tr *tracer) {
	t.Helper()
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EMBEDDED_TEST_WORK="+dir, "GOMAXPROCS=2")
	out, err := os.CreateTemp(t.TempDir(), "said")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Skipf("processes may not be traced here: %v", err)
	}
	tr = &tracer{dir: dir, in: map[int]bool{}}
	tr.follow(t, cmd.Process.Pid, n)
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b), tr
}

func (tr *tracer) follow(t *testing.T, pid, n int) {
	t.Helper()
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceSyscall(pid, 0); err != nil {
		t.Fatal(err)
	}
	for {
		thread, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if err != nil {
			return // no thread is left
		}
		if status.Exited() || status.Signaled() {
			if thread == pid {
				return
			}
			continue
		}
		signal := status.StopSignal()
		switch signal {
		case unix.SIGTRAP | 0x80:
			if tr.step(thread) && tr.steps == n {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			signal = 0
		case unix.SIGTRAP, unix.SIGSTOP:
			signal = 0 // a thread has begun
		}
		_ = unix.PtraceSyscall(thread, int(signal)) // errs once it is killed
	}
}

// step notes that a thread enters or leaves a call, and tells whether it leaves one that was a step.
func (tr *tracer) step(thread int) bool {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(thread, &regs) != nil {
		return false
	}
	tr.in[thread] = !tr.in[thread]
	if tr.in[thread] || int64(regs.Rax) < 0 {
		return false
	}
	var what string
	switch regs.Orig_rax {
	case unix.SYS_RENAMEAT, unix.SYS_RENAME:
		what = "rename"
	case unix.SYS_UNLINKAT, unix.SYS_UNLINK:
		what = "remove"
	case unix.SYS_LINKAT, unix.SYS_LINK:
		what = "link"
	case unix.SYS_MKDIRAT, unix.SYS_MKDIR:
		what = "mkdir"
	case unix.SYS_OPENAT:
		if regs.Rdx&unix.O_CREAT == 0 {
			return false
		}
		what = "create " + tr.file(thread, regs.Rax)
	case unix.SYS_WRITE, unix.SYS_FTRUNCATE, unix.SYS_PWRITE64:
		what = tr.file(thread, regs.Rdi)
		if !strings.HasPrefix(what, tr.dir) {
			return false
		}
		what = "write " + what
	default:
		return false
	}
	tr.steps++
	tr.last = strings.ReplaceAll(what, tr.dir, "")
	return true
}

func (tr *tracer) file(thread int, fd uint64) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", thread, fd))
	return path
}

// A process killed after any of its steps: what it had acknowledged is there, numbers are not given out again, and what
// had been put aside is gone.
func TestKilledAfterEachStep(t *testing.T) {
	whole := memoryDir(t)
	said, tr := runUntil(t, whole, 0)
	if !strings.Contains(said, "events 39") || tr.steps < 200 {
		t.Fatalf("%d steps; it said %.200s", tr.steps, said)
	}
	points := 12
	if n, thorough := damageRuns(t); thorough {
		points = n
	}
	points = min(points, tr.steps)
	for i := range points {
		dir := memoryDir(t)
		said, at := runUntil(t, dir, 1+i*tr.steps/points)
		if t.Failed() {
			return
		}
		checkKilled(t, dir, said, fmt.Sprintf("killed after step %d of about %d, %s", at.steps, tr.steps, at.last))
		_ = os.RemoveAll(dir)
	}
	t.Logf("killed after %d of %d steps", points, tr.steps)
}

func checkKilled(t *testing.T, dir, said, when string) {
	t.Helper()
	acked := map[string]int{"events": -1, "states": -1}
	for lines := bufio.NewScanner(strings.NewReader(said)); lines.Scan(); {
		topic, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%s: it said %q", when, lines.Text())
		}
		acked[topic] = n
	}
	s, text, err := openDamaged(t, dir)
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	defer s.Close()
	if strings.Contains(text.String(), "with a loss") {
		t.Errorf("%s: it says that something is lost:\n%s", when, text)
	}
	for _, leftover := range []string{asideDir(dir), asideDir(dir) + ".tmp"} {
		if _, err := os.Stat(leftover); err == nil {
			t.Errorf("%s: %s is still there", when, filepath.Base(leftover))
		}
	}
	if acked["events"] >= 0 {
		// All but what the reader is past may be trimmed, which is up to 6 before the last.
		got := numbers(read(t, s, "events"))
		for n := max(0, acked["events"]-5); n <= acked["events"]; n++ {
			if !got[n] {
				t.Errorf("%s: event %d of %d acknowledged is lost", when, n, acked["events"])
			}
		}
	}
	if acked["states"] >= 0 {
		got := numbers(read(t, s, "states"))
		for n := max(0, acked["states"]-2); n <= acked["states"]; n++ {
			if !got[n] && !got[n+3] {
				t.Errorf("%s: state %d of %d acknowledged is lost", when, n, acked["states"])
			}
		}
	}
}

func numbers(values []string) map[int]bool {
	all := make(map[int]bool)
	for _, v := range values {
		number, _, _ := strings.Cut(v, " ")
		if n, err := strconv.Atoi(string(bytes.TrimSpace([]byte(number)))); err == nil {
			all[n] = true
		}
	}
	return all
}
