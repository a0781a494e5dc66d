package redisstate_test

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/alicebob/miniredis/v2"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

var one = []redisstate.Item{{Tenant: "acme", EventID: "e", Position: "t:0:1"}}

// silent accepts connections at an address and never answers; stop ends it.
func silent(t *testing.T) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
		}
	})
	stop = sync.OnceFunc(func() {
		_ = listener.Close()
		accepting.Wait()
		for _, c := range open {
			_ = c.Close()
		}
	})
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// A Redis that hangs costs one call its timeout, then nothing; once it answers again it is used.
func TestAHangingRedisIsLeftAlone(t *testing.T) {
	address, stop := silent(t)
	cfg := config("redis://" + address)
	cfg.Timeout = 50 * time.Millisecond
	c := connect(t, cfg)
	start := time.Now()
	if _, err := c.Dedupe().Seen(t.Context(), one); err == nil || errors.Is(err, redisstate.ErrAway) {
		t.Fatalf("the first call: %v", err)
	}
	if took := time.Since(start); took > 20*cfg.Timeout {
		t.Errorf("the first call took %s of %s", took, cfg.Timeout)
	}
	start = time.Now()
	for range 1000 {
		if _, err := c.Dedupe().Seen(t.Context(), one); !errors.Is(err, redisstate.ErrAway) {
			t.Fatalf("while away: %v", err)
		}
		if _, err := c.States().Load(t.Context(), "w"); !errors.Is(err, redisstate.ErrAway) {
			t.Fatalf("while away: %v", err)
		}
	}
	if took := time.Since(start); took > 20*cfg.Timeout {
		t.Errorf("2000 calls while away took %s", took)
	}
	if !c.Away() {
		t.Error("not away")
	}

	stop()
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(address); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	comesBack(t, c)
}

func TestARefusingRedisComesBack(t *testing.T) {
	server := miniredis.RunT(t)
	c := connect(t, config("redis://"+server.Addr()))
	if _, err := c.Dedupe().Seen(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if _, err := c.Dedupe().Seen(t.Context(), one); err == nil || !c.Away() {
		t.Fatalf("with the server gone: away %t, %v", c.Away(), err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	comesBack(t, c)
}

// comesBack polls until a call is made and answered.
func comesBack(t *testing.T, c *redisstate.Client) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-poll.C {
		if _, err := c.Dedupe().Seen(t.Context(), one); err == nil && !c.Away() {
			return
		}
	}
	t.Fatal("still away 20 s after the server came back")
}

// A reply that refuses is an answer: Redis is not away.
func TestARefusalIsAnAnswer(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		c := connect(t, cfg)
		if err := rawClient(t, cfg).RPush(t.Context(), cfg.Prefix+"state:w", "a list").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.States().Load(t.Context(), "w"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Fatalf("error %v, want WRONGTYPE", err)
		}
		if c.Away() {
			t.Error("away after a refusal")
		}
	})
}

func TestPasswords(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireUserAuth("doorstep", "correct-horse")
	if _, err := connect(t, config("redis://doorstep:correct-horse@"+server.Addr()+"/3")).Dedupe().Seen(t.Context(), one); err != nil {
		t.Errorf("with the password: %v", err)
	}
	got, err := connect(t, config("redis://doorstep:battery-staple@"+server.Addr())).Dedupe().Seen(t.Context(), one)
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "battery-staple") {
		t.Errorf("with a wrong password: %v", err)
	}
	if got[0] {
		t.Error("with a wrong password: an event that nobody looked up is a duplicate")
	}
}

// rediss:// verifies the server's certificate.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate, of an authority that nobody trusts
	defer web.Close()
	server := miniredis.NewMiniRedis()
	if err := server.StartTLS(&tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_, err := connect(t, config("rediss://"+server.Addr())).Dedupe().Seen(t.Context(), one)
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	if _, err := connect(t, config("rediss://"+server.Addr()+"?skip_verify=true")).Dedupe().Seen(t.Context(), one); err != nil {
		t.Errorf("without verification: %v", err)
	}
}

func TestConnectErrors(t *testing.T) {
	for name, cfg := range map[string]redisstate.Config{
		"no URL":           {},
		"another scheme":   {URL: "http://:correct-horse@localhost"},
		"no port":          {URL: "redis://:correct-horse@localhost:port"},
		"unescaped slash":  {URL: "redis://:correct-horse/battery@localhost:6379"},
		"negative timeout": {URL: "redis://localhost", Timeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := redisstate.Connect(cfg)
			if err == nil {
				_ = c.Close()
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "horse") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestConfigByFlagsAndEnvironment(t *testing.T) {
	t.Setenv("DOORSTEP_REDIS_URL", "rediss://redis.example:6380")
	var cfg struct {
		Redis redisstate.Config `embed:""`
	}
	parser, err := kong.New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--redis-timeout=250ms"}); err != nil {
		t.Fatal(err)
	}
	want := redisstate.Config{URL: "rediss://redis.example:6380", Prefix: "doorstep:", Timeout: 250 * time.Millisecond}
	if !reflect.DeepEqual(cfg.Redis, want) {
		t.Errorf("Config = %+v, want %+v", cfg.Redis, want)
	}
}
