package testkit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

func TestBrokerAndRedisAnswer(t *testing.T) {
	prefix := testkit.Prefix(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(testkit.Broker(t)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, -1, nil, prefix+"events"); err != nil {
		t.Error(err)
	}
	options, err := redis.ParseURL(testkit.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	if err := rdb.Set(t.Context(), prefix+"key", "value", time.Minute).Err(); err != nil {
		t.Error(err)
	}
}

func TestPrefixesDiffer(t *testing.T) {
	if a, b := testkit.Prefix(t), testkit.Prefix(t); a == b || !strings.HasSuffix(a, ".") {
		t.Errorf("prefixes %q and %q", a, b)
	}
}

// failing notes what a helper says of a test.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper()                           {}
func (f *failing) Fatalf(format string, args ...any) { f.said = fmt.Sprintf(format, args...); panic(f) }

func (f *failing) run(helper func(t testing.TB)) (said string) {
	defer func() {
		if r := recover(); r != nil && r != any(f) {
			panic(r)
		}
		said = f.said
	}()
	helper(f)
	return ""
}

func TestEventually(t *testing.T) {
	asked := 0
	testkit.Eventually(t, time.Minute, func() error {
		if asked++; asked < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if asked != 3 {
		t.Errorf("asked %d times, want 3", asked)
	}
	said := (&failing{TB: t}).run(func(t testing.TB) {
		testkit.Eventually(t, 5*time.Millisecond, func() error { return errors.New("2 of 3") })
	})
	if said != "not within 5ms: 2 of 3" {
		t.Errorf("said %q", said)
	}
}

func TestRequireReal(t *testing.T) {
	if os.Getenv("TEST_KAFKA") != "" {
		t.Skip("a real broker is named")
	}
	t.Setenv("TEST_REQUIRE_REAL", "1")
	said := (&failing{TB: t}).run(func(t testing.TB) { testkit.Broker(t) })
	if said != "TEST_REQUIRE_REAL=1, and TEST_KAFKA names no server" {
		t.Errorf("said %q", said)
	}
}

func TestRandomRepeats(t *testing.T) {
	t.Setenv("TEST_SEED", "7")
	if a, b := testkit.Random(t).Uint64(), testkit.Random(t).Uint64(); a != b {
		t.Errorf("one seed, two numbers: %d, %d", a, b)
	}
}

// dialEcho connects and answers how a line fares.
func dialEcho(t *testing.T, addr string) (line func(timeout time.Duration) error, err error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	answers := bufio.NewReader(conn)
	return func(timeout time.Duration) error {
		_ = conn.SetDeadline(time.Now().Add(timeout))
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			return err
		}
		_, err := answers.ReadString('\n')
		return err
	}, nil
}

func echo(t *testing.T) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	return listener.Addr().String()
}

func TestProxyFaults(t *testing.T) {
	p := testkit.NewProxy(t, echo(t))
	healthy := func() (line func(time.Duration) error) {
		t.Helper()
		line, err := dialEcho(t, p.Addr)
		if err == nil {
			err = line(5 * time.Second)
		}
		if err != nil {
			t.Fatalf("healthy network: %v", err)
		}
		return line
	}
	line := healthy()
	p.Cut()
	if err := line(5 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("cut, open connection: %v, want it closed", err)
	}
	if _, err := dialEcho(t, p.Addr); err == nil {
		t.Error("cut: a new connection opens")
	}
	p.Heal()
	line = healthy()
	p.Hang()
	if err := line(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("hanging: %v, want no answer", err)
	}
	p.Heal()
	line = healthy()
	p.Delay(50 * time.Millisecond)
	start := time.Now()
	if err := line(5 * time.Second); err != nil || time.Since(start) < 50*time.Millisecond {
		t.Errorf("delayed: %v after %s", err, time.Since(start))
	}
	p.Heal()
	line = healthy()
	p.Throttle(10) // 200 lines of 6 bytes take 117 ms
	start = time.Now()
	for range 200 {
		if err := line(5 * time.Second); err != nil {
			t.Fatalf("throttled: %v", err)
		}
	}
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("throttled: 1,200 bytes at 10 KiB/s took %s", took)
	}
	p.Heal()
	line = healthy()
	p.Reset()
	if err := line(5 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("reset: %v", err)
	}
	p.Heal()
	healthy()
	p.Unsteady(0.3)
	made, failed := 0, 0
	for made == 0 || failed == 0 { // about half of each
		if line, err := dialEcho(t, p.Addr); err == nil && line(5*time.Second) == nil {
			made++
		} else {
			failed++
		}
	}
	p.Heal()
	healthy()
}

func TestProxyAt(t *testing.T) {
	address := testkit.NewProxy(t, echo(t)).Addr
	free := func() string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		return listener.Addr().String()
	}()
	p := testkit.NewProxyAt(t, free, address)
	line, err := dialEcho(t, free)
	if err == nil {
		err = line(5 * time.Second)
	}
	if err != nil || p.Addr != free {
		t.Errorf("a proxy at %s: %s, %v", free, p.Addr, err)
	}
}
