package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// process is `doorstep up` as a process of its own.
type process struct {
	t              *testing.T
	bin, dir       string
	http, grpcAddr string
	cmd            *exec.Cmd
	output         bytes.Buffer
}

func newProcess(t *testing.T) *process {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return &process{t: t, bin: bin, dir: t.TempDir(), http: freePort(t), grpcAddr: freePort(t)}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the program and waits until it is ready.
func (p *process) start() {
	p.t.Helper()
	p.output.Reset()
	p.cmd = exec.Command(p.bin, "up", "--data", p.dir, "--http", p.http, "--grpc", p.grpcAddr)
	p.cmd.Env = append(os.Environ(), "DOORSTEP_BOOTSTRAP_KEY="+apiKey(), "DOORSTEP_ALLOW_NETWORKS=127.0.0.0/8", "DOORSTEP_ALLOW_HTTP=true", "DOORSTEP_LOG_LEVEL=warn")
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	testkit.Eventually(p.t, patience, func() error {
		resp, err := http.Get("http://" + p.http + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %d", resp.StatusCode)
		}
		return nil
	})
}

// kill ends the program with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// stop ends the program with SIGTERM.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("doorstep ended with %v: %s", err, p.output.String())
	}
}

// Killed again and again while events go in: what was acknowledged is delivered. What is delivered
// twice is counted; on the embedded log no bound is promised.
func TestKilledWhileEventsGoIn(t *testing.T) {
	if os.Getenv("E2E_RUNNER") != "" {
		t.Skip("this test is about the embedded servers; package fault kills what runs on real ones")
	}
	const events, kills, producers = 5000, 4, 8
	p := newProcess(t)
	p.start()
	w := connect(t, "http://"+p.http, p.grpcAddr, kafka.Config{})
	r := testkit.NewReceiver(t)
	w.register(r.URL+"/hook", nil)
	w.inForce()

	var (
		next, acknowledged atomic.Int64
		acked              sync.Map // event id -> body
		working            sync.WaitGroup
	)
	for range producers {
		working.Go(func() {
			for {
				n := next.Add(1)
				if n > events {
					return
				}
				id, body := fmt.Sprintf("event-%d", n), fmt.Sprintf(`{"n":%d}`, n)
				for { // as a producer does: again with the same id until it is acknowledged
					if _, err := w.publish(&pb.Event{Id: id, Type: "card.updated", ExternalReference: fmt.Sprint("card-", n%50), Data: []byte(body)}); err == nil {
						break
					}
					time.Sleep(20 * time.Millisecond)
				}
				acked.Store(id, body)
				acknowledged.Add(1)
			}
		})
	}
	chance := testkit.Random(t)
	for k := range kills {
		target := int64((k + 1) * events / (kills + 1))
		testkit.Eventually(t, 2*time.Minute, func() error {
			if n := acknowledged.Load(); n < target {
				return fmt.Errorf("%d of %d acknowledged", n, target)
			}
			return nil
		})
		time.Sleep(time.Duration(chance.IntN(100)) * time.Millisecond) // the moment of the kill
		p.kill()
		t.Logf("kill %d after %d acknowledged events and %d POSTs", k+1, acknowledged.Load(), r.Count())
		p.start()
	}
	working.Wait()

	posts := map[string]int{}
	testkit.Eventually(t, 2*time.Minute, func() error {
		clear(posts)
		for _, got := range r.RequestsTo("/hook") {
			id := got.Header.Get("Doorstep-Event-Id")
			want, known := acked.Load(id)
			if known && want != string(got.Body) {
				t.Fatalf("%s arrived with the body %s", id, got.Body)
			}
			posts[id]++
		}
		if len(posts) < events {
			return fmt.Errorf("%d of %d events delivered", len(posts), events)
		}
		return nil
	})
	total := 0
	for _, n := range posts {
		total += n
	}
	t.Logf("%d events acknowledged, %d kills -9, %d lost, %d of %d POSTs were repeats", events, kills, events-len(posts), total-len(posts), total)
	p.stop()
}
