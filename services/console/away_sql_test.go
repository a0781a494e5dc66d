package console_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/services/console"
)

// commitCutter is a network to PostgreSQL that ends at a COMMIT when it is armed: before the server gets it, or after
// it has answered, without the answer.
type commitCutter struct {
	addr    string
	armed   atomic.Bool
	through atomic.Bool // the server gets the COMMIT
	cut     atomic.Int64
}

func newCommitCutter(t *testing.T, upstream string) *commitCutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := &commitCutter{addr: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = client.Close()
				continue
			}
			go c.serve(client, server)
		}
	}()
	return c
}

func (c *commitCutter) serve(client, server net.Conn) {
	var lost atomic.Bool // the answer of this connection's commit
	go func() {
		defer client.Close()
		b := make([]byte, 32<<10)
		for {
			n, err := server.Read(b)
			if err != nil || lost.Load() {
				return
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	defer server.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if bytes.Contains(b[:n], []byte("commit\x00")) && c.armed.CompareAndSwap(true, false) {
			c.cut.Add(1)
			if lost.Store(true); !c.through.Load() {
				_ = client.Close()
				return
			}
			_, _ = server.Write(b[:n])
			_, _ = io.Copy(io.Discard, client) // until the answer has ended it
			return
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestACommitWithoutAnAnswer: whoever creates something is told that it is not known, and finds out by looking. What
// was made is announced as all else, and once.
func TestACommitWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	db := newFrailSQL(t)
	u, err := url.Parse(db.cfg.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	network := newCommitCutter(t, u.Host)
	u.Host = network.addr
	log, _ := frailLog(t)
	cfg := config(t, log, db.cfg)
	cfg.SQL.PostgresURL, cfg.History = u.String(), db.past
	cfg.SQL.MaxConnections = 6
	c := start(t, cfg)
	eventually(t, c.svc.Ready)
	for name, through := range map[string]bool{"made": true, "not-made": false} {
		t.Run(name, func(t *testing.T) {
			// Nobody else may commit meanwhile: the drainer deletes rows without a transaction of its own.
			network.through.Store(through)
			network.armed.Store(true)
			a := c.as(bootKey, "POST", "/api/v1/webhooks", `{"name":"`+name+`","url":"http://127.0.0.1:9999/","event_types":["a"]}`)
			if a.status != 503 || !strings.Contains(a.Detail, "look whether it was made") || a.header.Get("Retry-After") == "" {
				t.Fatalf("%d %s\n%s", a.status, a.text, c.log)
			}
			listed := 0
			for _, w := range data[[]console.Webhook](t, c.do(200, "GET", "/api/v1/webhooks", "")) {
				if w.Name == name {
					listed++
				}
			}
			if want := map[bool]int{true: 1, false: 0}[through]; listed != want || network.cut.Load() == 0 {
				t.Errorf("listed %d times, want %d; cut %d times", listed, want, network.cut.Load())
			}
		})
	}
	records(t, log, topics(t, log).Webhooks, func(rs []*kgo.Record) bool {
		return len(rs) == 1 && bytes.Contains(rs[0].Value, []byte("made"))
	})
}

// TestStatementsThatHang: others keep a table locked, and the pool is used up by those who wait for it. Everybody is
// answered in time, what does not need the table goes on, and nothing is left behind.
func TestStatementsThatHang(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.create(minimal).ID
	locked, err := w.sql.admin.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(w.sql.cfg.PostgresURL)
	if err == nil {
		_, err = locked.ExecContext(t.Context(), `LOCK TABLE `+u.Query().Get("search_path")+`.webhooks IN ACCESS EXCLUSIVE MODE`)
	}
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]call{}
	for i := range 60 {
		calls[fmt.Sprint("waiting ", i)] = call{method: "GET", path: "/api/v1/webhooks/" + id, needs: theSQL}
	}
	for i := range 10 {
		calls[fmt.Sprint("publishing ", i)] = call{method: "POST", path: "/api/v1/events", body: `{"type":"a"}`, status: 202}
		calls[fmt.Sprint("history ", i)] = call{method: "GET", path: "/api/v1/deliveries", status: 200}
	}
	f := fault{missing: theSQL, words: "the database did not answer in time"}
	for name, r := range w.askAll(calls) {
		if err := f.judge(calls[name], r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := w.as(bootKey, "GET", "/api/v1/webhooks/"+id, ""); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	eventually(t, func() error {
		if n := w.sql.count(`SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, w.sql.role); n > 10 {
			return fmt.Errorf("%d sessions, the pools allow 10", n)
		}
		n := w.sql.count(`SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND
			(state = 'idle in transaction' OR state = 'active') AND now() - query_start > interval '3 seconds'`, w.sql.role)
		if n > 0 {
			return fmt.Errorf("%d sessions go on with what nobody waits for", n)
		}
		return nil
	})
	w.linesAreFew()
}

// TestTwoConsolesLoseTheDatabase: it ends all sessions and takes no new ones for a while. Then one of the two drains
// the outbox again, not none and not both, nothing is migrated again, and no session or lock is left behind.
func TestTwoConsolesLoseTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := start(t, w.cfg)
	eventually(t, second.svc.Ready)
	both := []*running{w.running, second}
	w.create(minimal)
	for range 3 {
		w.sql.do("ALTER ROLE " + w.sql.role + " CONNECTION LIMIT 0")
		w.sql.endSessions()
		eventually(t, func() error {
			if a := second.as(bootKey, "GET", "/api/v1/webhooks", ""); a.status != 503 {
				return fmt.Errorf("%d %s", a.status, a.text)
			}
			return nil
		})
		w.sql.do("ALTER ROLE " + w.sql.role + " CONNECTION LIMIT -1")
		var all sync.WaitGroup
		for _, c := range both {
			all.Go(func() { c.comesBack() })
		}
		all.Wait()
	}
	name := w.create(`{"name":"after-it","url":"http://127.0.0.1:9999/","event_types":["a"]}`).ID
	records(t, w.cfg.Kafka, w.topics.Webhooks, func(rs []*kgo.Record) bool {
		for _, r := range rs {
			if string(r.Key) == name {
				return true
			}
		}
		return false
	})
	eventually(t, func() error {
		n := w.sql.count(`SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.locktype = 'advisory' AND l.granted AND a.usename = $1`, w.sql.role)
		if n != 1 {
			return fmt.Errorf("%d locks are held, want the outbox's alone", n)
		}
		return nil
	})
	if strings.Contains(second.log.String(), `"msg":"migrated"`) {
		t.Error("the second console has migrated tables that the first had made")
	}
	if n := w.sql.count(`SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, w.sql.role); n > 20 {
		t.Errorf("%d sessions, the pools allow 20", n)
	}
	for _, c := range both {
		c.stopsSoon()
		if n := strings.Count(c.log.String(), "outbox cannot be drained; trying again"); n > 3 {
			t.Errorf("%d lines of an outbox that cannot be drained, of 3 times", n)
		}
	}
	eventually(t, func() error {
		if n := w.sql.count(`SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, w.sql.role); n > 0 {
			return fmt.Errorf("%d sessions of consoles that have stopped", n)
		}
		return nil
	})
}

// comesBack waits until SQL and history are asked again.
func (c *running) comesBack() {
	eventually(c.t, func() error {
		for _, path := range []string{"webhooks", "mails"} {
			if a := c.as(bootKey, "GET", "/api/v1/"+path, ""); a.status != 200 {
				return fmt.Errorf("%d %s", a.status, a.text)
			}
		}
		return nil
	})
}
