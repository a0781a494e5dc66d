//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// A disk that fills up while Doorstep runs: first nothing new is taken in, then nothing is written any more, and
// when there is room again everything goes on. Every event that was acknowledged arrives.
func TestDiskFillsUpAndIsFreed(t *testing.T) {
	embeddedOnly(t)
	d := newDisk(t, 400)
	h := newMachine(t, d.path+"/data", d)
	h.up()
	r := testkit.NewReceiver(t)
	h.register(r.URL+"/ok", nil)
	h.register(r.URL+"/later", nil)
	h.inForce()
	h.events.many(20)
	h.events.arrive(r)

	d.leave(200 << 20)
	refusedBy(t, h, codes.ResourceExhausted, "MiB free")
	if got := h.rest(http.MethodPost, "events", map[string]any{"type": "disk.test", "data": map[string]any{}}, nil); got != http.StatusServiceUnavailable {
		t.Errorf("REST answers %d below the bound, want 503", got)
	}
	d.leave(free)
	accepted(t, h)

	// Retries are under way when nothing is left at all.
	r.Set("/later", testkit.Behaviour{Status: 500, FailFirst: 10})
	h.events.many(10)
	d.leave(200 << 20)
	refusedBy(t, h, codes.ResourceExhausted, "MiB free")
	d.leave(0)
	time.Sleep(6 * time.Second) // longer than any retry waits
	if h.hasEnded() {
		t.Fatalf("it ended on a full disk: %s", h.refusal())
	}
	d.leave(free)
	accepted(t, h)
	h.events.many(10)
	h.events.arrive(r)
	if code := h.stop(); code != 0 {
		t.Errorf("exit code %d after a stop", code)
	}
}

// refusedBy waits until publishing is refused.
func refusedBy(t *testing.T, h *machine, code codes.Code, words string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		err := h.events.one()
		if status.Code(err) == code && strings.Contains(err.Error(), words) {
			return nil
		}
		return fmt.Errorf("publish: want %s with %q: %w", code, words, err)
	})
}

func accepted(t *testing.T, h *machine) {
	t.Helper()
	testkit.Eventually(t, patience, h.events.one)
}

// A disk that is full from one moment to the next, while events pour in and transactions are open. The program goes
// on or ends with one line, or is killed; what was acknowledged arrives.
func TestDiskIsFullAtOnce(t *testing.T) {
	long(t)
	d := newDisk(t, 400)
	h := newMachine(t, d.path+"/data", d)
	h.up()
	r := testkit.NewReceiver(t)
	h.register(r.URL+"/ok", nil)
	h.inForce()
	for _, round := range []struct {
		full time.Duration
		kill bool
	}{{2 * time.Second, false}, {time.Second, true}, {9 * time.Second, false}, {3 * time.Second, true}} { // a transaction may be open for 8 s
		stop := h.events.storm()
		h.events.more(200)
		d.leave(0)
		time.Sleep(round.full)
		ended := h.hasEnded()
		switch {
		case ended:
			t.Logf("full for %s: ended: %s", round.full, h.refusal())
		case round.kill:
			h.kill9()
			t.Logf("full for %s: killed", round.full)
		default:
			t.Logf("full for %s: went on", round.full)
		}
		d.leave(free)
		if ended || round.kill {
			h.up()
		}
		h.events.more(1)
		stop()
		h.events.arrive(r)
	}
	// Full at the stop, and at the start after it.
	h.events.many(50)
	d.leave(0)
	h.stop()
	if crashed.MatchString(h.out.String()) {
		t.Errorf("a stop on a full disk: %s", h.out)
	}
	h.run()
	if line := h.refusal(); !strings.Contains(line, d.path+"/data") || !strings.Contains(line, "make room") {
		t.Errorf("a start on a full disk: %q", line)
	}
	d.leave(free)
	h.up()
	h.events.many(50)
	doubled := h.events.arrive(r)
	t.Logf("%d acknowledged, 0 lost, %d delivered more than once", h.events.count(), doubled)
}

// A write that fails although the disk seems to have room: by a limit on the size of files, as by a quota or a
// broken disk. The program ends with one line, at once, and a start without the limit has everything.
func TestFailedWrite(t *testing.T) {
	embeddedOnly(t)
	t.Log("failed writes by: RLIMIT_FSIZE")
	h := newMachine(t, t.TempDir()+"/data", nil)
	h.up()
	r := testkit.NewReceiver(t)
	h.register(r.URL+"/ok", nil)
	h.inForce()
	stop := h.events.storm()
	h.events.more(100)
	limit := unix.Rlimit{Cur: 64 << 10, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(h.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	line := h.refusal()
	stop()
	if !strings.Contains(line, "file too large") || !strings.Contains(line, h.data) {
		t.Errorf("it ended with %q", line)
	}
	h.up()
	h.events.many(20)
	h.events.arrive(r)
	t.Logf("%d acknowledged, all arrived; it had ended with %q", h.events.count(), line)
}

// No file and no connection can be opened for a while. The program goes on or ends with one line; afterwards all its
// listeners answer, and what was acknowledged arrives.
func TestTooManyOpenFiles(t *testing.T) {
	long(t)
	h := newMachine(t, t.TempDir()+"/data", nil)
	h.up()
	r := testkit.NewReceiver(t)
	h.register(r.URL+"/ok", nil)
	h.inForce()
	h.events.many(20)
	h.events.arrive(r)
	var before unix.Rlimit
	if err := unix.Prlimit(h.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	limit := unix.Rlimit{Cur: 8, Max: before.Max} // the lowest numbers are taken for good
	if err := unix.Prlimit(h.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	stop := h.events.storm()
	refused := 0
	for range 5 {
		if h.ready() != nil { // waits a second for a connection that is not accepted
			refused++
		}
	}
	if refused == 0 {
		t.Error("no connection was refused: the limit does not show")
	}
	if !h.hasEnded() {
		if err := unix.Prlimit(h.cmd.Process.Pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
			t.Fatal(err)
		}
		t.Logf("went on, %d of 5 connections refused", refused)
	}
	h.events.more(50)
	stop()
	testkit.Eventually(t, patience, h.ready)
	h.events.arrive(r)
}
