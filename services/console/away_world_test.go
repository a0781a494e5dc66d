package console_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/console"
)

// stores is what a request needs.
type stores int

const (
	nothing    stores = 0
	theSQL     stores = 1 << iota // webhooks, keys, tenants, jobs, sessions
	theHistory                    // what recorders wrote
	theLog
	aWrite // in SQL
)

// answerTime is the promise: longer than this nobody waits for a store. A second is for the API key, 4 for a slow machine.
const answerTime = 10 * time.Second

// publishTime is how long events wait for a log that may be away.
const publishTime = 2 * time.Second

// frailLog is a log behind a network that fails.
func frailLog(t *testing.T) (kafka.Config, *testkit.Proxy) {
	t.Helper()
	brokers, network := testkit.BrokerBehind(t)
	return withTopics(t, kafka.Config{Brokers: brokers, TopicPrefix: "t.", Embedded: true}), network
}

// frailSQL is a database of PostgreSQL whose role and networks fail: one network to the webhooks, one to the history.
type frailSQL struct {
	t            *testing.T
	admin        *sql.DB
	role         string
	own, history *testkit.Proxy
	cfg, past    sqldb.Config
}

func newFrailSQL(t *testing.T) *frailSQL {
	t.Helper()
	server := os.Getenv("TEST_POSTGRES")
	f := &frailSQL{t: t, role: "r_" + strings.ToLower(rand.Text())}
	t.Cleanup(func() { // behind the schema's own
		if f.admin != nil {
			f.do(`DROP OWNED BY ` + f.role)
			f.do(`DROP ROLE ` + f.role)
			_ = f.admin.Close()
		}
	})
	cfg := sqldbtest.Postgres(t)
	u, err := url.Parse(cfg.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	if f.admin, err = sql.Open("pgx", server); err != nil {
		t.Fatal(err)
	}
	f.do(`CREATE ROLE ` + f.role + ` LOGIN PASSWORD 'hidden-word'`)
	f.do(`ALTER SCHEMA ` + u.Query().Get("search_path") + ` OWNER TO ` + f.role)
	f.own, f.history = testkit.NewProxy(t, u.Host), testkit.NewProxy(t, u.Host)
	u.User = url.UserPassword(f.role, "hidden-word")
	u.Host = f.own.Addr
	f.cfg.PostgresURL = u.String()
	u.Host = f.history.Addr
	f.past.PostgresURL = u.String()
	return f
}

// do is the operator's doing.
func (f *frailSQL) do(statement string, args ...any) {
	f.t.Helper()
	if _, err := f.admin.ExecContext(context.Background(), statement, args...); err != nil {
		f.t.Errorf("%s: %v", statement, err)
	}
}

// count is what a query counts.
func (f *frailSQL) count(query string, args ...any) (n int) {
	f.t.Helper()
	if err := f.admin.QueryRowContext(f.t.Context(), query, args...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// endSessions ends what the console has open, as a server does that is stopped.
func (f *frailSQL) endSessions() {
	f.do(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, f.role)
}

// endAll ends sessions again and again until the function that it returns is called.
func (f *frailSQL) endAll() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		for ctx.Err() == nil {
			_, _ = f.admin.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND state <> 'idle'`, f.role)
		}
	})
	return func() {
		cancel()
		ended.Wait()
	}
}

// world is a console whose stores fail.
type world struct {
	*rig
	sql       *frailSQL // nil: SQLite, or none
	kafka     *testkit.Proxy
	missesSQL bool // from the start
}

// connections to the webhooks' database, for each of many consoles at once.
const connections = 6

func newWorld(t *testing.T) *world {
	t.Helper()
	db := newFrailSQL(t)
	log, network := frailLog(t)
	cfg := config(t, log, db.cfg)
	cfg.History, cfg.Publish.Timeout = db.past, publishTime
	cfg.SQL.MaxConnections, cfg.History.MaxConnections = connections, connections-2
	c := start(t, cfg)
	eventually(t, c.svc.Ready) // many make their tables at once, and take turns
	w := &world{sql: db, kafka: network, rig: &rig{
		running: c, store: openHistory(t, sqldb.Config{PostgresURL: schemaOf(t, db)}), client: newClient(t, log), topics: topics(t, log),
	}}
	return w
}

// schemaOf is the URL that leads to the same tables past the networks that fail.
func schemaOf(t *testing.T, f *frailSQL) string {
	t.Helper()
	u, err := url.Parse(f.cfg.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := url.Parse(os.Getenv("TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host, u.User = direct.Host, direct.User
	q := u.Query()
	q.Set("role", f.role) // what it makes is the console's
	u.RawQuery = q.Encode()
	return u.String()
}

// things are what requests are about; each set is for one round.
type things struct {
	// webhooks
	read, patch, remove, rotate, pause, resume, release, discard, recover, test string
	webDeactivate, webPause, webResume, webRelease, webDiscard, webTest         string
	administrator, leaving                                                      string // administrators
	tenant, ending                                                              string // tenants
	patching, returning                                                         string // tenants with a profile
	key, leavingKey, job, mail, event, delivery                                 string
	resting, cancelled                                                          string // jobs
	eventType, eventTypeGoing                                                   string
	newName                                                                     string
}

// typeName is a name as event types have them.
func typeName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// noThings are ids of nothing.
func noThings() things {
	id := uuid.NewString
	return things{
		read: id(), patch: id(), remove: id(), rotate: id(), pause: id(), resume: id(), release: id(), discard: id(), recover: id(), test: id(), webTest: id(), resting: id(), cancelled: id(),
		webDeactivate: id(), webPause: id(), webResume: id(), webRelease: id(), webDiscard: id(),
		eventType: "t" + strings.ToLower(rand.Text()), eventTypeGoing: "t" + strings.ToLower(rand.Text()),
		administrator: id(), leaving: id(), tenant: "t-" + strings.ToLower(rand.Text()), ending: "t-" + strings.ToLower(rand.Text()), patching: "t-" + strings.ToLower(rand.Text()), returning: "t-" + strings.ToLower(rand.Text()), key: id(), leavingKey: id(), job: id(), mail: id(), event: "e-" + rand.Text(), delivery: id(), newName: "n-" + strings.ToLower(rand.Text()),
	}
}

// make makes a set.
func (w *world) make() things {
	w.t.Helper()
	x := noThings()
	for _, id := range []*string{&x.read, &x.patch, &x.remove, &x.rotate, &x.pause, &x.resume, &x.release, &x.discard, &x.recover, &x.test, &x.webTest, &x.webDeactivate, &x.webPause, &x.webResume, &x.webRelease, &x.webDiscard} {
		*id = w.create(minimal).ID
	}
	for _, id := range []string{x.resume, x.webResume} {
		w.do(200, "POST", "/api/v1/webhooks/"+id+"/pause", "")
	}
	x.key = w.running.key(`{"name":"k","scopes":["events"]}`).ID
	x.leavingKey = w.running.key(`{"name":"k","scopes":["events"]}`).ID
	x.administrator = data[console.Administrator](w.t, w.do(201, "POST", "/api/v1/administrators", `{"email":"`+x.newName+`@example.com"}`)).ID
	x.leaving = data[console.Administrator](w.t, w.do(201, "POST", "/api/v1/administrators", `{"email":"leaving-`+x.newName+`@example.com"}`)).ID
	w.do(201, "POST", "/api/v1/event-types", `{"type":"`+x.eventType+`","schema":{}}`)
	w.do(201, "POST", "/api/v1/event-types", `{"type":"`+x.eventTypeGoing+`"}`)
	w.do(201, "POST", "/api/v1/tenants", `{"id":"`+x.tenant+`"}`)
	w.do(201, "POST", "/api/v1/tenants", `{"id":"`+x.ending+`"}`)
	for _, of := range []string{x.patching, x.returning} {
		w.do(200, "POST", "/api/v1/profiles", `{"profile":"away","event_types":[{"type":"a"}]}`, "Doorstep-Tenant", of)
	}
	for _, job := range []*string{&x.job, &x.resting, &x.cancelled} {
		*job = data[console.Job](w.t, w.do(202, "POST", "/api/v1/webhooks/"+x.read+"/release", "")).ID
	}
	e := w.event(published(x.event, time.Now().UTC().Truncate(time.Microsecond)))
	d := matched(e, x.read)
	at := w.deliver(w.topics.Deliveries, d)
	w.attempts(post(d, at, time.Now().UTC(), delivery.Outcome{StatusCode: 200}, delivery.Delivered))
	x.delivery = d.ID
	w.record(func(b *history.Batch) {
		b.AddNotice(failure.Notice{
			ID: x.mail, Kind: failure.NoticeMailed, NoticeID: uuid.NewString(), NoticeKind: failure.NoticeWarning, Tenant: "default",
			WebhookID: x.read, RaisedAt: time.Now().UTC(), MailTo: "admin@example.com", MailedAt: time.Now().UTC(), MailResult: failure.MailSent,
		})
	})
	return x
}

// reply is what a call was answered, and when.
type reply struct {
	status int
	header http.Header
	text   string
	took   time.Duration
	err    error
}

// ask makes a call and reads its answer; of one that goes on, the beginning.
func (w *world) ask(c call) reply {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, c.method, "http://"+w.svc.Addr()+c.path, strings.NewReader(c.body))
	if err != nil {
		return reply{err: err}
	}
	client := &w.running.client
	r.Header.Set("Authorization", "Bearer "+bootKey)
	if c.of != "" {
		r.Header.Set("Doorstep-Tenant", c.of)
	}
	if c.who != nil {
		client = &c.who.client
		r.Header.Set("Origin", "http://"+w.svc.Addr())
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	began := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		return reply{err: err, took: time.Since(began)}
	}
	defer resp.Body.Close()
	got := reply{status: resp.StatusCode, header: resp.Header}
	if !c.goesOn || resp.StatusCode >= 300 {
		b, err := io.ReadAll(resp.Body)
		got.text, got.err = string(b), err
	}
	got.took = time.Since(began)
	return got
}

// askAll makes all calls at once.
func (w *world) askAll(calls map[string]call) map[string]reply {
	var (
		mu   sync.Mutex
		all  sync.WaitGroup
		said = map[string]reply{}
	)
	for name, c := range calls {
		all.Go(func() {
			r := w.ask(c)
			mu.Lock()
			defer mu.Unlock()
			said[name] = r
		})
	}
	all.Wait()
	return said
}

// visitor is a person who has signed in; while SQL was never there, one who brings a token.
func (w *world) visitor() *person {
	w.t.Helper()
	p := w.person()
	if !w.missesSQL {
		return p.signIn(bootKey, "")
	}
	u, err := url.Parse(p.base)
	if err != nil {
		w.t.Fatal(err)
	}
	token := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("t", 32)))
	p.client.Jar.SetCookies(u, []*http.Cookie{{Name: "doorstep_session", Value: token, Path: "/"}})
	return p
}

// tells errs unless a refusal says what is missing, when to come again, and nothing that is the operator's alone.
func (r reply) tells(c call, words string) error {
	switch {
	case r.status != 503:
		return fmt.Errorf("%d, want 503: %s", r.status, r.text)
	case r.header.Get("Retry-After") == "":
		return fmt.Errorf("without Retry-After: %s", r.text)
	case strings.HasPrefix(c.path, "/api/") && r.header.Get("Content-Type") != "application/problem+json":
		return fmt.Errorf("is %s: %s", r.header.Get("Content-Type"), r.text)
	case !strings.Contains(strings.ToLower(r.text), words):
		return fmt.Errorf("does not say %q: %s", words, r.text)
	case strings.Contains(r.text, "127.0.0.1"), strings.Contains(r.text, "hidden-word"), strings.Contains(r.text, "SQLSTATE"):
		return fmt.Errorf("tells what is the operator's alone: %s", r.text)
	}
	return nil
}
