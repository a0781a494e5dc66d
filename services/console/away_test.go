package console_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// TestTheTableIsWhole: every operation and every page has a line that says what it needs.
func TestTheTableIsWhole(t *testing.T) {
	t.Parallel()
	c := start(t, config(t, ownLog(t), sqldbtest.SQLite(t)))
	c.awaitReady()
	var api struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(c.as("", "GET", "/api/openapi.json", "").text), &api); err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, methods := range api.Paths {
		for _, op := range methods {
			described = append(described, op.OperationID)
		}
	}
	slices.Sort(described)
	if told := slices.Sorted(maps.Keys(operations(noThings()))); !slices.Equal(described, told) {
		t.Errorf("the API has\n%v,\nthe table of what they need\n%v", described, told)
	}
	w := &world{rig: &rig{running: c}}
	if told := slices.Sorted(maps.Keys(pages(w, noThings()))); !slices.Equal(c.svc.Pages(), told) {
		t.Errorf("the web console has\n%v,\nthe table of what they need\n%v", c.svc.Pages(), told)
	}
}

// all are both tables.
func (w *world) all(x things) map[string]call {
	calls := operations(x)
	maps.Copy(calls, pages(w, x))
	return calls
}

// TestStoresThatWereNeverThere: a console that starts without a store serves what does not need it, and says 503 to
// the rest.
func TestStoresThatWereNeverThere(t *testing.T) {
	t.Parallel()
	hanging := silent
	refusing := func(*testing.T) string { return "127.0.0.1:1" }
	postgres := func(at func(*testing.T) string) func(t *testing.T) sqldb.Config {
		return func(t *testing.T) sqldb.Config {
			return sqldb.Config{PostgresURL: "postgres://someone:hidden-word@" + at(t) + "/doorstep?sslmode=disable"}
		}
	}
	for name, tt := range map[string]struct {
		missing      stores
		sql, history func(*testing.T) sqldb.Config // nil: SQLite
		log          func(*testing.T) string       // nil: one that is there
		words        string
	}{
		"SQL refuses":     {missing: theSQL, sql: postgres(refusing), words: "the database cannot be reached yet"},
		"SQL hangs":       {missing: theSQL, sql: postgres(hanging), words: "the database cannot be reached yet"},
		"history refuses": {missing: theHistory, history: postgres(refusing), words: "the history cannot be reached yet"},
		"history hangs":   {missing: theHistory, history: postgres(hanging), words: "the history cannot be reached yet"},
		"the log refuses": {missing: theLog, log: refusing, words: "the log"},
		"the log hangs":   {missing: theLog, log: hanging, words: "the log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, files := ownLog(t), sqldbtest.SQLite(t)
			cfg := config(t, log, files)
			cfg.Publish.Timeout = publishTime
			if tt.sql != nil {
				cfg.SQL = tt.sql(t)
			}
			if tt.history != nil {
				cfg.History = tt.history(t)
			}
			if tt.log != nil {
				cfg.Kafka.Brokers = []string{tt.log(t)}
			}
			record, err := wire.APIKey(topics(t, log).Settings, tenant.APIKey{
				ID: "0198c9e0-0000-7000-8000-000000000001", Name: "k", Hash: auth.Hash(bootKey), Scopes: tenant.Scopes(),
			})
			if err == nil {
				err = newClient(t, log).ProduceSync(t.Context(), record).FirstErr()
			}
			if err != nil {
				t.Fatal(err)
			}
			c := start(t, cfg)
			w := &world{rig: &rig{running: c}, missesSQL: tt.missing == theSQL}
			if tt.missing == theHistory {
				c.awaitReady()
			}
			for missing, path := range map[stores]string{nothing: "me", theSQL: "webhooks", theHistory: "mails"} {
				if missing == tt.missing && missing != nothing {
					continue
				}
				eventually(t, func() error { // what is there is known
					if a := c.as(bootKey, "GET", "/api/v1/"+path, ""); a.status != 200 {
						return fmt.Errorf("%d %s", a.status, a.text)
					}
					return nil
				})
			}
			if err := c.svc.Ready(); (err == nil) != (tt.missing == theHistory) {
				t.Errorf("ready: %v", err)
			}
			calls := w.all(noThings())
			for name, r := range w.askAll(calls) {
				needs := calls[name].needs | calls[name].first
				if err := r.judge(calls[name], needs&tt.missing != 0, tt.words); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			c.stopsSoon()
			if log := c.log.String(); strings.Contains(log, "hidden-word") {
				t.Error("the log has the password")
			}
		})
	}
}

// judge errs unless a call that needs what is missing was refused with these words, or found nothing to do it with,
// and another was answered as usual.
func (r reply) judge(c call, refused bool, words string) error {
	switch {
	case r.err != nil:
		return r.err
	case r.took > answerTime:
		return fmt.Errorf("took %s: %d %s", r.took, r.status, r.text)
	case refused && r.status == 404, refused && r.status == 409:
		return nil // what it is about is looked up first
	case refused:
		return r.tells(c, words)
	case r.status >= 500:
		return fmt.Errorf("%d: %s", r.status, r.text)
	}
	return nil
}

// stopsSoon stops a console and fails the test if that takes long, whatever is away.
func (c *running) stopsSoon() {
	c.t.Helper()
	late := time.AfterFunc(5*time.Second, func() {
		stacks := make([]byte, 1<<20)
		c.t.Errorf("not stopped after 5 s:\n%s", stacks[:runtime.Stack(stacks, true)])
	})
	c.stop()
	late.Stop()
}

// silent is an address that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// fault is a store that goes away from a console that has started.
type fault struct {
	missing stores
	words   string
	begin   func(w *world) (end func())
	may     bool // what needs it may still be answered as usual
}

func faults() map[string]fault {
	proxy := func(of func(*world) *testkit.Proxy, do func(*testkit.Proxy)) func(*world) func() {
		return func(w *world) func() {
			do(of(w))
			return func() { of(w).Heal() }
		}
	}
	both := func(do func(*testkit.Proxy)) func(*world) func() {
		return func(w *world) func() {
			do(w.sql.own)
			do(w.sql.history)
			return func() { w.sql.own.Heal(); w.sql.history.Heal() }
		}
	}
	hang, cut := (*testkit.Proxy).Hang, (*testkit.Proxy).Cut
	slow := func(p *testkit.Proxy) { p.Delay(time.Second) }
	history := func(w *world) *testkit.Proxy { return w.sql.history }
	log := func(w *world) *testkit.Proxy { return w.kafka }
	role := func(begin, end string) func(*world) func() {
		return func(w *world) func() {
			w.sql.do("ALTER ROLE " + w.sql.role + begin)
			w.sql.endSessions()
			for range 10 { // each finds at most one session of before
				w.as(bootKey, "GET", "/api/v1/webhooks", "")
				w.as(bootKey, "GET", "/api/v1/mails", "")
			}
			return func() {
				w.sql.do("ALTER ROLE " + w.sql.role + end)
				w.sql.endSessions()
			}
		}
	}
	return map[string]fault{
		"SQL refuses":             {missing: theSQL | theHistory, words: "the database cannot be reached", begin: both(cut)},
		"SQL hangs":               {missing: theSQL | theHistory, words: "the database did not answer in time", begin: both(hang)},
		"SQL is slow":             {missing: theSQL | theHistory, words: "the database", begin: both(slow), may: true},
		"SQL has no connection":   {missing: theSQL | theHistory, words: "the database has no connection left", begin: role(" CONNECTION LIMIT 0", " CONNECTION LIMIT -1")},
		"SQL is read-only":        {missing: aWrite, words: "the database takes no changes", begin: role(" SET default_transaction_read_only = on", " RESET default_transaction_read_only")},
		"SQL ends its sessions":   {missing: theSQL | theHistory, words: "the database", begin: func(w *world) func() { return w.sql.endAll() }, may: true},
		"the history refuses":     {missing: theHistory, words: "the database cannot be reached", begin: proxy(history, cut)},
		"the history hangs":       {missing: theHistory, words: "the database did not answer in time", begin: proxy(history, hang)},
		"the log refuses":         {missing: theLog, words: "the log", begin: proxy(log, cut)},
		"the log hangs":           {missing: theLog, words: "the log", begin: proxy(log, hang)},
		"the log is slow":         {missing: theLog, words: "the log", begin: proxy(log, slow), may: true},
		"nothing is wrong at all": {begin: func(*world) func() { return func() {} }},
	}
}

// TestStoresThatGoAway: a store goes away and comes back under a console that has everything. What does not need
// it is answered as usual, the rest with 503 in time; then all is as before, without a restart.
func TestStoresThatGoAway(t *testing.T) {
	t.Parallel()
	sqldbtest.Postgres(t) // or skip
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			x := w.make()
			calls := w.all(x)
			end := f.begin(w)
			answered := w.askAll(calls)
			ready := w.svc.Ready()
			end()
			for name, r := range answered {
				c := calls[name]
				if err := f.judge(c, r); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if ready != nil {
				t.Errorf("the console is not ready any more: %v", ready)
			}
			w.isWhole(x, answered)
			w.linesAreFew()
			w.stopsSoon()
		})
	}
}

func (f fault) judge(c call, r reply) error {
	needs := c.needs&f.missing != 0
	switch {
	case r.err != nil:
		return r.err
	case r.took > answerTime:
		return fmt.Errorf("took %s: %d %s", r.took, r.status, r.text)
	case needs && c.goesOn && r.status == 200, needs && f.may && r.status < 500:
		return nil
	case needs:
		return r.tells(c, f.words)
	case r.status != c.status:
		return fmt.Errorf("%d, want %d: %s", r.status, c.status, r.text)
	}
	return nil
}

// isWhole fails the test unless everything is answered again, and what was refused is either not done or was said to
// be unknown.
func (w *world) isWhole(x things, answered map[string]reply) {
	w.t.Helper()
	// So many at once that no connection stays idle: each that ended meanwhile fails one of them.
	many := map[string]call{}
	for i := range 2 * connections {
		many[fmt.Sprint("list-webhooks ", i)] = call{method: "GET", path: "/api/v1/webhooks", status: 200}
		many[fmt.Sprint("list-deliveries ", i)] = call{method: "GET", path: "/api/v1/deliveries", status: 200}
	}
	eventually(w.t, func() error {
		for name, r := range w.askAll(many) {
			if r.err != nil || r.status != 200 {
				return fmt.Errorf("%s: %d %s %s", name, r.status, r.text, fmt.Sprint(r.err))
			}
		}
		return nil
	})
	eventually(w.t, func() error {
		calls := w.all(w.make())
		for name, r := range w.askAll(calls) {
			if c := calls[name]; r.err != nil || r.status != c.status {
				return fmt.Errorf("%s: %d, want %d: %s %s", name, r.status, c.status, r.text, fmt.Sprint(r.err))
			}
		}
		return nil
	})
	r := answered["create-webhook"]
	unknown := strings.Contains(r.text, "look whether it was made")
	made := strings.Contains(w.do(200, "GET", "/api/v1/webhooks?limit=500", "").text, `"`+x.newName+`"`)
	if !unknown && made != (r.status == 201) {
		w.t.Errorf("a webhook whose creation was answered %d is there: %t", r.status, made)
	}
}

// linesAreFew fails the test if the log tells of a fault as often as it is met.
func (w *world) linesAreFew() {
	w.t.Helper()
	counts := map[string]int{}
	for line := range strings.Lines(w.log.String()) {
		var l struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &l); err == nil && l.Level != "DEBUG" && l.Level != "INFO" {
			counts[l.Msg]++
		}
	}
	for msg, n := range counts {
		if n > 10 { // each of the clients once
			w.t.Errorf("%d lines %q", n, msg)
		}
	}
}
