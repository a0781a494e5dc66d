package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	stdlog "log"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"

	"github.com/doorstep-dev/doorstep/pkg/credentials"
	"github.com/doorstep-dev/doorstep/pkg/egress"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
)

// house is a Doorstep with everything configured, and what came out of it.
type house struct {
	t         *testing.T
	p         *plants
	url       string
	grpc      *grpc.ClientConn
	kafka     kafka.Config
	redis     *redis.Client
	keyPrefix string // of its keys in Redis
	mails     *tellingServer
	proxy     map[string]*testkit.Proxy // before a store that can be taken away
	admins    []string                  // base URLs of admin addresses
	profiles  []string                  // and of profiles
	logs      func() []byte
	spans     *testkit.Collector // has all spans
	files     string             // data directory of what is embedded; empty: none
	sql       []database         // with everybody's tables
	stop      func()

	mu  sync.Mutex
	all []evidence
}

// safeBuffer is what services log, each line a write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

// database is where tables are, and the query that lists them.
type database struct{ driver, source, tables string }

// warnAfter and disableAfter are low, so that mails come soon.
const warnAfter, disableAfter = 3, 6

// embeddedHouse runs everything in this process: SQLite and the log embedded, Redis with a password elsewhere.
func embeddedHouse(t *testing.T, p *plants) *house {
	t.Helper()
	h := &house{t: t, p: p, mails: newTellingServer(t), files: t.TempDir(), proxy: map[string]*testkit.Proxy{}, spans: testkit.NewCollector(t)}
	for name, value := range h.tracing() {
		t.Setenv(name, value)
	}
	state := miniredis.RunT(t)
	state.RequireAuth(p.redisPassword)
	h.proxy["redis"] = testkit.NewProxy(t, state.Addr())
	h.redis = redis.NewClient(&redis.Options{Addr: state.Addr(), Password: p.redisPassword})

	cfg, err := app.Default(h.files)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Egress = egress.Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	cfg.Console.BootstrapKey, cfg.Kafka.RetryTiers = p.platformKey, tiers
	cfg.Redis.URL = "redis://:" + url.QueryEscape(p.redisPassword) + "@" + h.proxy["redis"].Addr
	cfg.Mail.URL, cfg.Sealing = h.smtpURL(), credentials.SealingKeys{Keys: "k1:" + p.sealingKey}
	cfg.Sender.WarnAfter, cfg.Sender.DisableAfter = warnAfter, disableAfter
	logged := &safeBuffer{}
	log, err := obs.Logger(logged, "debug")
	if err != nil {
		t.Fatal(err)
	}
	obs.Libraries(log) // as the program does
	t.Cleanup(func() { stdlog.SetOutput(os.Stderr) })
	a, stop := runLogged(t, cfg, log)
	h.url, h.grpc, h.kafka, h.stop, h.logs = a.URL(), dial(t, a.GRPC()), a.Kafka(), stop, logged.bytes
	h.admins = []string{a.URL()}
	for _, file := range []string{"doorstep.db", "history.db"} {
		h.sql = append(h.sql, database{"sqlite", "file:" + filepath.Join(h.files, file) + "?mode=ro", `SELECT name FROM sqlite_master WHERE type = 'table'`})
	}
	return h
}

func (h *house) smtpURL() string {
	return "smtp://doorstep:" + url.QueryEscape(h.p.smtpPassword) + "@" + h.mails.addr + "?starttls=never"
}

// tracing is the environment of what sends its spans to the house's collector, with a key as many collectors want one.
func (h *house) tracing() map[string]string {
	return map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": h.spans.URL, "OTEL_BSP_SCHEDULE_DELAY": "100",
		"OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=" + h.p.collectorKey,
	}
}

func (h *house) note(place string, content []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, evidence{place, bytes.Clone(content)})
}

// anID is what stands in a path for one thing.
var anID = regexp.MustCompile(`^[0-9a-f-]{36}$|^[0-9a-f]{32}$|%|\.\.|'`)

// routeOf is a path with ids left out, as the places name it.
func routeOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if i > 0 && anID.MatchString(part) {
			parts[i] = "{id}"
		}
	}
	return strings.Join(parts, ".")
}

// request is one call of the API or a page.
type request struct {
	method, path string // below /api/v1/ or /console/
	key          string
	body         string
	header       map[string]string
}

// do makes a REST call and keeps the whole answer. What makes something is made with an Idempotency-Key, and again.
func (h *house) do(r request) (status int, answer []byte) {
	h.t.Helper()
	if r.method != http.MethodPost || r.path == "events" {
		return h.once(r, "")
	}
	key := random()
	if status, answer = h.once(r, key); status == http.StatusCreated {
		h.once(r, key)
	}
	return status, answer
}

func (h *house) once(r request, idempotencyKey string) (status int, answer []byte) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), r.method, h.url+"/api/v1/"+r.path, strings.NewReader(r.body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", "application/json")
	if idempotencyKey != "" {
		req.Header.Set("Idempotency-Key", idempotencyKey)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	return h.send(http.DefaultClient, req, "answer", routeOf(r.path))
}

// send makes a request and keeps the answer, as a refusal where it is one.
func (h *house) send(client *http.Client, req *http.Request, kind, route string) (status int, answer []byte) {
	h.t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode >= http.StatusBadRequest && kind == "answer" {
		kind = "refusal"
	}
	var whole bytes.Buffer
	_ = resp.Header.Write(&whole)
	whole.Write(answer)
	h.note(kind+"/"+req.Method+" "+route, whole.Bytes())
	return resp.StatusCode, answer
}

// profilePaths are profiles that show most of what is in memory.
var profilePaths = []string{"debug/pprof/", "debug/pprof/cmdline", "debug/pprof/goroutine?debug=2", "debug/pprof/heap?debug=1"}

// lookAt notes what base URLs answer at paths.
func (h *house) lookAt(bases []string, paths ...string) {
	h.t.Helper()
	for _, base := range bases {
		for _, path := range paths {
			req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, base+"/"+path, nil)
			if err != nil {
				h.t.Fatal(err)
			}
			h.send(http.DefaultClient, req, "admin", path)
		}
	}
}

// gather looks into all that a running Doorstep shows, and into its stores.
func (h *house) gather() {
	h.t.Helper()
	h.lookAt(h.admins, "healthz", "readyz", "metrics")
	h.lookAt(h.profiles, profilePaths...)
	h.topics()
	h.keys()
	h.tables()
	h.readFiles()
	for _, m := range h.mails.received() {
		h.note("mail", m)
	}
	h.stop()
	h.readFiles()
	h.note("log", h.logs())
	h.note("spans", h.spans.Raw())
	seen := map[string]bool{}
	for _, s := range h.spans.Spans("") {
		name, _, _ := strings.Cut(s.Name, " ")
		seen[s.Service+" "+name] = true
	}
	for _, want := range []string{"doorstep-ingest send", "doorstep-console POST", "doorstep-matcher process", "doorstep-sender POST"} {
		if !seen[want] {
			h.t.Errorf("no span of %s: %v", want, seen)
		}
	}
}

// topics reads every record of every topic, as bytes.
func (h *house) topics() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	client, err := h.kafka.NewClient("secrets", slog.New(slog.DiscardHandler), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(20*time.Millisecond))
	if err != nil {
		h.t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	listed, err := admin.ListTopics(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	listed.FilterInternal()
	var names []string
	for _, name := range listed.Names() {
		if strings.HasPrefix(name, h.kafka.TopicPrefix) {
			names = append(names, name)
		}
	}
	ends, err := admin.ListEndOffsets(ctx, names...)
	if err != nil {
		h.t.Fatal(err)
	}
	left := map[string]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[fmt.Sprint(o.Topic, o.Partition)] = o.Offset
		}
	})
	client.AddConsumeTopics(names...)
	for len(left) > 0 {
		if ctx.Err() != nil {
			h.t.Fatalf("the topics were not read to their ends: %v", left)
		}
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			all := append(append(bytes.Clone(r.Key), '\n'), r.Value...)
			for _, header := range r.Headers {
				all = append(append(all, '\n'), header.Value...)
			}
			h.note("topic/"+strings.TrimPrefix(r.Topic, h.kafka.TopicPrefix), all)
			if at := fmt.Sprint(r.Topic, r.Partition); r.Offset+1 >= left[at] {
				delete(left, at)
			}
		})
	}
}

// keys reads every key and value of Redis.
func (h *house) keys() {
	h.t.Helper()
	ctx := h.t.Context()
	names, err := h.redis.Keys(ctx, h.keyPrefix+"*").Result()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		value, err := h.redis.Get(ctx, name).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			h.t.Fatalf("redis: a key cannot be read: %v", err) // no key of ours is of another type
		}
		h.note("redis", []byte(name+"\n"+value))
	}
}

// tables reads every row of every table.
func (h *house) tables() {
	h.t.Helper()
	for _, d := range h.sql {
		db, err := sql.Open(d.driver, d.source)
		if err != nil {
			h.t.Fatal(err)
		}
		h.dump(db, d.tables)
		_ = db.Close()
	}
}

func (h *house) dump(db *sql.DB, list string) {
	h.t.Helper()
	ctx := h.t.Context()
	names, err := column(ctx, db, list)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, table := range names {
		if err := h.dumpTable(db, table); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *house) dumpTable(db *sql.DB, table string) error {
	rows, err := db.QueryContext(h.t.Context(), `SELECT * FROM "`+table+`"`) //nolint:gosec,unqueryvet // every column of its own tables
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		if err := rows.Scan(cells...); err != nil {
			return err
		}
		for i, name := range columns {
			if b, ok := (*cells[i].(*any)).([]byte); ok {
				h.note("sql/"+table+"/"+name, b)
			} else {
				h.note("sql/"+table+"/"+name, fmt.Append(nil, *cells[i].(*any)))
			}
		}
	}
	return rows.Err()
}

func column(ctx context.Context, db *sql.DB, query string) (out []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// readFiles reads every file of what is embedded, byte for byte.
func (h *house) readFiles() {
	h.t.Helper()
	if h.files == "" {
		return
	}
	err := filepath.WalkDir(h.files, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // a file that went meanwhile
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		name, err := filepath.Rel(h.files, path)
		h.note("file/"+strings.ReplaceAll(name, "/", "."), b)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}
