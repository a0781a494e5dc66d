package upgrade

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

const (
	apiKey   = "dsk_upgrade_0123456789abcdef0123456789abcdef"
	tiers    = "1s,2s"
	patience = 2 * time.Minute
	callers  = 4
	replicas = 2
	pace     = 20 * time.Millisecond // between an answer and a caller's next event
)

// world is a Doorstep of two programs.
type world struct {
	*cluster.Cluster
	t        *testing.T
	older    string
	newer    string
	cfg      kafka.Config
	receiver *receiver
	webhooks []string // ids of those that want every event

	newerRuns map[*cluster.Process]bool
	refused   int // requests that consoles of the older program answered 503, and were made again
}

// TestOlderAndNewerSideBySide replaces every process, in as many orders as UPGRADE_SEEDS says.
func TestOlderAndNewerSideBySide(t *testing.T) {
	if _, given := cluster.FromEnv(); !given {
		if os.Getenv("TEST_REQUIRE_REAL") == "1" {
			t.Fatal("TEST_REQUIRE_REAL=1: TEST_KAFKA, TEST_REDIS and TEST_POSTGRES must name servers")
		}
		t.Skip("TEST_KAFKA, TEST_REDIS and TEST_POSTGRES name no servers")
	}
	older, newer := programs(t)
	n, err := strconv.Atoi(os.Getenv("UPGRADE_SEEDS"))
	if err != nil || n < 1 {
		n = 1
	}
	for i := range n {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) { replaceAll(t, older, newer, testkit.Random(t)) })
	}
}

func replaceAll(t *testing.T, older, newer string, chance *rand.Rand) {
	w := newWorld(t, older, newer)
	w.registerAll()
	var ingests []string
	for _, p := range w.Of("ingest") {
		ingests = append(ingests, p.Addr)
	}
	load := newProducers(t, apiKey, pace, ingests...)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load.run(ctx, callers)
	}()
	defer func() {
		stop()
		<-ended
	}()
	w.prepare()
	for i, step := range plan(chance, w.Processes) {
		began := time.Now()
		w.replace(step)
		w.change(i)
		t.Logf("%s is %s after %s", step.process.Name, step.words(), time.Since(began).Round(time.Millisecond))
	}
	stop()
	<-ended
	if w.refused > 0 {
		t.Logf("consoles of the older program answered %d requests with 503", w.refused)
	}
	w.settle(load)
	w.audit()
	w.nothingUnreadable()
}

func newWorld(t *testing.T, older, newer string) *world {
	t.Helper()
	servers, _ := cluster.FromEnv()
	servers.ACLs = "" // older programs may not have had them
	servers.Postgres = sqldbtest.Postgres(t).PostgresURL
	prefix := testkit.Prefix(t)
	w := &world{
		t: t, older: older, newer: newer, receiver: newReceiver(t), newerRuns: map[*cluster.Process]bool{},
		cfg: kafka.Config{Brokers: strings.Split(servers.Kafka, ","), TopicPrefix: prefix, RetryTiers: tiers},
	}
	logs := os.Getenv("UPGRADE_LOGS")
	if logs == "" {
		logs = t.TempDir()
	} else if logs = filepath.Join(logs, t.Name()); os.MkdirAll(logs, 0o700) != nil {
		t.Fatalf("UPGRADE_LOGS: no directory can be made at %s", logs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	each := map[string]int{}
	for _, service := range []string{"console", "recorder", "ingest", "matcher", "sender", "notifier"} {
		each[service] = replicas
	}
	var err error
	w.Cluster, err = cluster.Start(ctx, cluster.Config{
		Program: older, Dir: logs, Servers: servers, Key: apiKey, Replicas: each,
		Env: map[string]string{
			"DOORSTEP_TOPIC_PREFIX": prefix, "DOORSTEP_REDIS_PREFIX": prefix, "DOORSTEP_RETRY_TIERS": tiers,
			"DOORSTEP_ALLOW_NETWORKS": "127.0.0.0/8", "DOORSTEP_ALLOW_HTTP": "true",
		},
	})
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// registerAll registers webhooks that want every event: one that accepts, one that refuses each delivery once, one that is
// slow, one with a filter that all events pass. It returns when a matcher and a sender know them.
func (w *world) registerAll() {
	w.t.Helper()
	for _, in := range []map[string]any{
		{"url": w.receiver.url + "/accepts"}, {"url": w.receiver.url + "/fails"}, {"url": w.receiver.url + "/slow"},
		{"url": w.receiver.url + "/accepts", "condition": `data.n >= 0`},
	} {
		in["event_types"] = []string{"upgrade.*"}
		var h struct{ ID string }
		if err := w.rest(0, http.MethodPost, "webhooks", in, http.StatusCreated, &h); err != nil {
			w.t.Fatal(err)
		}
		w.webhooks = append(w.webhooks, h.ID)
	}
	// Every change is in force within a second; what is published before would go to some of them only.
	<-time.After(2 * time.Second)
}

// prepare brings topics and tables up to date, as an upgrade begins.
func (w *world) prepare() {
	w.t.Helper()
	w.Use(w.newer)
	for _, args := range [][]string{{"topics", "apply"}, {"migrate"}} {
		if _, err := w.Do(w.t.Context(), "", args...); err != nil {
			w.t.Fatal(err)
		}
	}
}

// step is one process that gets another program.
type step struct {
	process *cluster.Process
	newer   bool
}

func (s step) words() string {
	if s.newer {
		return "newer"
	}
	return "older again"
}

// plan replaces all processes in an order of chance. The first of each service is taken back at once, and replaced again
// after all others.
func plan(chance *rand.Rand, processes []*cluster.Process) (steps []step) {
	back := map[string]bool{}
	var last []step
	for _, i := range chance.Perm(len(processes)) {
		p := processes[i]
		steps = append(steps, step{p, true})
		if !back[p.Service] {
			back[p.Service] = true
			steps, last = append(steps, step{p, false}), append(last, step{p, true})
		}
	}
	return append(steps, last...)
}

// replace ends a process in good order and starts it with its other program.
func (w *world) replace(s step) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	err := s.process.Stop()
	s.process.Use(w.older)
	if s.newer {
		s.process.Use(w.newer)
	}
	if err := errors.Join(err, s.process.Start(), s.process.Ready(ctx)); err != nil {
		w.t.Fatalf("%s, %s: %v", s.process.Name, s.words(), err)
	}
	w.newerRuns[s.process] = s.newer
}

// change has consoles of both programs change webhooks: a description, and every third time one is paused and resumed, so that
// deliveries are suspended and released.
func (w *world) change(i int) {
	w.t.Helper()
	webhook := "webhooks/" + w.webhooks[i%len(w.webhooks)]
	for console := range w.Of("console") {
		in := map[string]any{"description": fmt.Sprintf("after step %d, by console %d", i, console)}
		if err := w.rest(console, http.MethodPatch, webhook, in, http.StatusOK, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	if i%3 != 0 {
		return
	}
	pause := w.rest(i%replicas, http.MethodPost, webhook+"/pause", nil, http.StatusOK, nil)
	<-time.After(300 * time.Millisecond)
	resume := w.rest((i+1)%replicas, http.MethodPost, webhook+"/resume", nil, http.StatusOK, nil)
	if err := errors.Join(pause, resume); err != nil {
		w.t.Fatal(err)
	}
}

// settle waits until all that was acknowledged is accepted: once.
func (w *world) settle(load *producers) {
	w.t.Helper()
	ids := load.deliveries(w.webhooks)
	if len(ids) == 0 {
		w.t.Fatal("nothing was acknowledged")
	}
	testkit.Eventually(w.t, patience, func() error {
		if never, _ := w.receiver.times(ids); never > 0 {
			return fmt.Errorf("%d of %d deliveries were never accepted", never, len(ids))
		}
		return nil
	})
	_, again := w.receiver.times(ids)
	w.t.Logf("%d events acknowledged (%d tries were not), %d deliveries, %d accepted more than once", len(load.acked), load.faults.Load(), len(ids), again)
	if again > 0 {
		w.t.Errorf("%d deliveries were accepted more than once, although nothing was killed", again)
	}
}

// summary is the last line of an audit.
type summary struct {
	Events         int   `json:"events"`
	Deliveries     int   `json:"deliveries"`
	NotRecordedYet int64 `json:"not_recorded_yet"`
	Unreadable     int   `json:"unreadable"`
	Differences    int   `json:"differences"`
}

// audit holds the history against the log once all is recorded.
func (w *world) audit() {
	w.t.Helper()
	var s summary
	testkit.Eventually(w.t, patience, func() error {
		var raw []byte
		if err := w.rest(0, http.MethodGet, "audit", nil, http.StatusOK, &raw); err != nil {
			return err
		}
		lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
		var last struct{ Summary *summary }
		if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || last.Summary == nil {
			return fmt.Errorf("the audit ends with %s: %w", lines[len(lines)-1], err)
		}
		if s = *last.Summary; s.NotRecordedYet > 0 {
			return fmt.Errorf("%d records are not in the history yet", s.NotRecordedYet)
		}
		return nil
	})
	w.t.Logf("audit: %+v", s)
	if s.Differences > 0 || s.Unreadable > 0 || s.Events == 0 {
		w.t.Errorf("the history is not what the log says: %+v", s)
	}
}

// unreadable is what programs log that met something of another version which they cannot read, or that ended badly.
var unreadable = regexp.MustCompile(`(?i)quarantined|cannot be read|unmarshal|decode|unknown (kind|version)|panic|level=ERROR|"level":"ERROR"`)

// stalePlan is what PostgreSQL says of a statement that a connection kept while a column's type changed (see rest). A
// console of the newer program would have failed a request by it.
const stalePlan = "SQLSTATE 0A000"

// nothingUnreadable looks into the quarantine and all logs.
func (w *world) nothingUnreadable() {
	w.t.Helper()
	topics, err := w.cfg.Topics()
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := w.cfg.NewClient("upgrade", slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(w.t.Context(), topics.Quarantine)
	if err != nil {
		w.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			w.t.Errorf("%d records quarantined in partition %d", o.Offset, o.Partition)
		}
	})
	for _, p := range w.Processes {
		log, err := os.ReadFile(p.Log())
		if err != nil {
			w.t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if unreadable.MatchString(line) && !strings.Contains(line, stalePlan) {
				w.t.Errorf("%s: %s", p.Name, strings.TrimSpace(line))
			}
		}
	}
}

// rest asks a console. One of the older program is asked again when it answers 503, as its clients would: with tables that
// have changed under it, each statement that a connection keeps may fail once.
func (w *world) rest(console int, method, path string, in any, want int, out any) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		err := w.REST(ctx, console, method, path, in, want, out)
		refusal, _ := errors.AsType[*cluster.Refusal](err)
		if refusal == nil || refusal.Status != http.StatusServiceUnavailable || w.newerRuns[w.Of("console")[console]] {
			return err
		}
		w.refused++
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
