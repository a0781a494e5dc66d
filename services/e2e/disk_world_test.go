//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/metadata"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// disk is a file system of its own, which a test may fill: a tmpfs in a mount namespace.
type disk struct {
	t      *testing.T
	holder int    // the process that holds the namespace
	path   string // as processes in the namespace see it
	seen   string // as this process sees it
}

// newDisk makes a disk of mib MiB, or skips the test where namespaces are not allowed.
func newDisk(t *testing.T, mib int) *disk {
	t.Helper()
	path := t.TempDir()
	cmd := exec.Command("unshare", "-rm", "sh", "-c", fmt.Sprintf("mount -t tmpfs -o size=%dm tmpfs '%s' && echo mounted && exec cat", mib, path))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Skipf("no disk of its own, only TestFailedWrite shows a full one: %v", err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		t.Skipf("no disk of its own, only TestFailedWrite shows a full one: %s", said.String())
	}
	t.Logf("full disk by: a tmpfs of %d MiB in a user and mount namespace", mib)
	return &disk{t: t, holder: cmd.Process.Pid, path: path, seen: fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, path)}
}

// leave fills the disk until so many bytes are free, or frees it.
func (d *disk) leave(free int64) {
	d.t.Helper()
	filler := filepath.Join(d.seen, "filler")
	if err := os.RemoveAll(filler); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.Create(filler)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Statfs(d.seen, &fs); err != nil {
		d.t.Fatal(err)
	}
	const last = 1 << 20
	n := int64(fs.Bavail)*fs.Bsize - free
	for ; n > last; n -= last { // others write meanwhile
		if err = unix.Fallocate(int(f.Fd()), 0, 0, n-last); err == nil {
			break
		}
	}
	if free > 0 {
		return
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		d.t.Fatal(err)
	}
	err = nil
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
}

// free is all that the test can give.
const free = 1 << 40

// machine is `doorstep up` as a process, over all its restarts.
type machine struct {
	*world
	data    string
	on      *disk // nil: where this process's files are
	program string
	http    string
	grpcAt  string
	env     []string
	attr    *syscall.SysProcAttr

	cmd    *exec.Cmd
	out    *output
	ended  chan struct{} // closed once it has ended
	events *published
}

// output is what a process says, safe to read while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func newMachine(t *testing.T, data string, on *disk) *machine {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	h := &machine{data: data, on: on, program: bin, http: freePort(t), grpcAt: freePort(t)}
	h.world = connect(t, "http://"+h.http, h.grpcAt, logAt("", "doorstep."))
	h.events = &published{machine: h}
	t.Cleanup(func() {
		if h.cmd != nil && !h.hasEnded() {
			_ = h.cmd.Process.Kill()
			<-h.ended
		}
		if t.Failed() && h.out != nil {
			t.Logf("doorstep said, in %s:\n%s", h.data, h.out)
		}
	})
	return h
}

// run starts the process and does not wait.
func (h *machine) run() {
	h.t.Helper()
	args := []string{h.program, "up", "--data", h.data}
	if h.on != nil {
		args = append([]string{"nsenter", "-t", fmt.Sprint(h.on.holder), "-U", "--preserve-credentials", "-m", "--"}, args...)
	}
	h.cmd, h.out, h.ended = exec.Command(args[0], args[1:]...), new(output), make(chan struct{})
	h.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/", "DOORSTEP_HTTP_ADDR=" + h.http, "DOORSTEP_GRPC_ADDR=" + h.grpcAt, "DOORSTEP_BOOTSTRAP_KEY=" + apiKey(),
		"DOORSTEP_ALLOW_NETWORKS=127.0.0.0/8", "DOORSTEP_ALLOW_HTTP=true", "DOORSTEP_RETRY_TIERS=" + tiers,
	}, h.env...)
	h.cmd.Stdout, h.cmd.Stderr, h.cmd.SysProcAttr = h.out, h.out, h.attr
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) { _ = cmd.Wait(); close(ended) }(h.cmd, h.ended)
}

// up starts the process and waits until it is ready.
func (h *machine) up() {
	h.t.Helper()
	h.run()
	testkit.Eventually(h.t, patience, func() error {
		if h.hasEnded() {
			h.t.Fatalf("it ended at its start: %s", h.out)
		}
		return h.ready()
	})
}

func (h *machine) ready() error {
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/readyz", nil)
	if err != nil {
		return err
	}
	req.Close = true // by a connection of its own
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %s", resp.Status)
	}
	return nil
}

func (h *machine) hasEnded() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}

// end waits for the end of the process and returns its exit code.
func (h *machine) end() int {
	h.t.Helper()
	select {
	case <-h.ended:
		return h.cmd.ProcessState.ExitCode()
	case <-time.After(patience + 10*time.Second):
		h.t.Fatalf("it does not end; it said: %s", h.out)
		return 0
	}
}

// kill9 ends the process as a crash does.
func (h *machine) kill9() {
	_ = h.cmd.Process.Kill()
	<-h.ended
}

func (h *machine) stop() int {
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	return h.end()
}

// crashed is what a Go program says that ends by a fault of its own.
var crashed = regexp.MustCompile(`(?m)^(panic:|fatal error:|goroutine \d+ \[|SIG[A-Z]+:|runtime:)`)

// refusal is the one line with which the process ended, without its logs.
func (h *machine) refusal() string {
	h.t.Helper()
	if code := h.end(); code != 1 {
		h.t.Errorf("exit code %d, want 1", code)
	}
	var lines []string
	for line := range strings.Lines(h.out.String()) {
		if !strings.HasPrefix(line, "{") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	// The greeting stands before it where it had been ready.
	if len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], "doorstep: ") || crashed.MatchString(h.out.String()) {
		h.t.Errorf("want it to end with one line: %s", h.out)
		return ""
	}
	return lines[len(lines)-1]
}

// published publishes events, numbered in their data, and remembers which were acknowledged.
type published struct {
	machine *machine

	mu    sync.Mutex
	next  int
	acked map[int]bool
}

// one publishes one event.
func (p *published) one() error {
	p.mu.Lock()
	n := p.next
	p.next++
	p.mu.Unlock()
	e := &pb.Event{Type: "disk.test", Id: fmt.Sprintf("event-%d", n), Data: fmt.Appendf(nil, `{"n":%d,"filler":%q}`, n, strings.Repeat("x", 500))}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := p.machine.publishWithin(ctx, e); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.acked == nil {
		p.acked = map[int]bool{}
	}
	p.acked[n] = true
	return nil
}

// many publishes n events, which must all be acknowledged.
func (p *published) many(n int) {
	p.machine.t.Helper()
	for range n {
		if err := p.one(); err != nil {
			p.machine.t.Fatalf("publish: %v", err)
		}
	}
}

// storm publishes from several producers until the returned function is called.
func (p *published) storm() (stop func()) {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if p.one() != nil {
					select {
					case <-ended:
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
		})
	}
	return func() { close(ended); wg.Wait() }
}

// arrive waits until every acknowledged event has come to the receiver, and returns how many came more than once.
func (p *published) arrive(r *testkit.Receiver) (doubled int) {
	p.machine.t.Helper()
	testkit.Eventually(p.machine.t, patience, func() error {
		came := map[int]int{}
		doubled = 0
		for _, request := range r.Requests() {
			var body struct{ N int }
			if err := json.Unmarshal(request.Body, &body); err == nil {
				came[body.N]++
				if came[body.N] == 2 {
					doubled++
				}
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		lost := 0
		for n := range p.acked {
			if came[n] == 0 {
				lost++
			}
		}
		if lost > 0 {
			return fmt.Errorf("%d of %d acknowledged events have not come", lost, len(p.acked))
		}
		return nil
	})
	return doubled
}

// more waits until so many more are acknowledged. Where the process ends meanwhile it is started again.
func (p *published) more(n int) {
	p.machine.t.Helper()
	before := p.count()
	testkit.Eventually(p.machine.t, patience, func() error {
		if p.machine.hasEnded() {
			p.machine.t.Logf("ended: %s", p.machine.refusal())
			p.machine.up()
		}
		if got := p.count() - before; got < n {
			return fmt.Errorf("%d more acknowledged, want %d", got, n)
		}
		return nil
	})
}

func (p *published) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// publishWithin publishes an event over gRPC.
func (h *machine) publishWithin(ctx context.Context, e *pb.Event) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+apiKey())
	_, err := pb.NewIngestServiceClient(h.grpc).Publish(ctx, &pb.PublishRequest{Event: e})
	return err
}

// embeddedOnly leaves a test out where the suite runs on real servers, and runs it beside others.
func embeddedOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("E2E_RUNNER") != "" {
		t.Skip("about the embedded servers")
	}
	t.Parallel()
}
