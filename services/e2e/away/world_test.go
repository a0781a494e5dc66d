package away

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
	"github.com/doorstep-dev/doorstep/services/e2e/fault"
)

const (
	apiKey     = "dsk_away_0123456789abcdef0123456789abcdef"
	retryTiers = "2s,4s,8s"
	// Consecutive failures until a webhook's administrators are warned, and until it is disabled.
	warnAfter, disableAfter = 60, 120
)

func replicas() map[string]int {
	return map[string]int{"console": 1, "ingest": 1, "matcher": 2, "notifier": 1, "recorder": 2, "sender": 2}
}

// processes are the names of all processes.
func processes() []string {
	var out []string
	for _, service := range []string{"console", "ingest", "matcher", "notifier", "recorder", "sender"} {
		for i := range replicas()[service] {
			out = append(out, fmt.Sprintf("%s-%d", service, i))
		}
	}
	return out
}

// stores says which services use which store.
func stores() map[string][]string {
	return map[string][]string{
		"kafka":    {"console", "ingest", "matcher", "notifier", "recorder", "sender"},
		"redis":    {"matcher", "notifier", "sender"},
		"postgres": {"console", "recorder"},
		"smtp":     {"notifier"},
	}
}

// pair is a process and a store.
type pair struct{ process, store string }

// world is a Doorstep on servers of its own, with a network between each pair, under load.
type world struct {
	t       *testing.T
	servers *cluster.Local
	logs    string         // directory of the processes' logs
	logRead map[string]int // bytes of each that were looked at
	cluster *cluster.Cluster
	network map[pair]*testkit.Proxy
	mails   testkit.MailServer
	log     kafka.Config
	admin   *kadm.Client // to the broker without a proxy
	commits *fault.Commits
	ingest  *grpc.ClientConn
	target  string
	history fault.History
	hookOf  map[string]int // by webhook id
	first   string         // id of a webhook

	mu       sync.Mutex
	posted   map[delivered]time.Time         // when its first POST came
	acked    []acked                         // first acknowledgements, in order
	refused  []refusal                       // publishes
	dead     map[string]*dead                // by path
	states   map[string]failure.State        // by webhook id: the newest on `states`
	tells    map[string]map[string]time.Time // by webhook id: when `states` first said so
	probes   []probe
	unlooked int // events matched without a look for duplicates
	ready    []readiness
}

// delivered names a delivery as producers and receivers know it.
type delivered struct {
	event string
	hook  int
}

func start(t *testing.T) *world {
	t.Helper()
	servers, err := cluster.StartLocal("--listeners", fmt.Sprint(len(processes())), "kafka", "redis", "postgres", "smtp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := servers.Down(); err != nil {
			t.Error(err)
		}
	})
	w := &world{
		t: t, servers: servers, hookOf: map[string]int{}, posted: map[delivered]time.Time{}, dead: map[string]*dead{},
		states: map[string]failure.State{}, tells: map[string]map[string]time.Time{}, logRead: map[string]int{},
		mails: testkit.MailServer{URL: servers.Env("TEST_SMTP"), CAFile: servers.Env("TEST_SMTP_CA"), Dir: servers.Env("TEST_MAIL")},
		log:   kafka.Config{Brokers: strings.Split(servers.Servers().Kafka, ","), TopicPrefix: "doorstep.", RetryTiers: retryTiers},
	}
	settings := w.connect()
	w.receive()
	if w.logs = os.Getenv("AWAY_LOGS"); w.logs == "" {
		w.logs = t.TempDir()
	}
	bin := os.Getenv("AWAY_PROGRAM") // a build of it, to try several
	if bin == "" {
		if bin, err = cluster.Build(t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w.cluster, err = cluster.Start(ctx, cluster.Config{
		Program: bin, Dir: w.logs, Servers: servers.Servers(), Key: apiKey, Replicas: replicas(),
		Env: map[string]string{
			"DOORSTEP_ALLOW_NETWORKS": "127.0.0.0/8", "DOORSTEP_ALLOW_HTTP": "true", "DOORSTEP_RETRY_TIERS": retryTiers,
			"DOORSTEP_WARN_AFTER": fmt.Sprint(warnAfter), "DOORSTEP_DISABLE_AFTER": fmt.Sprint(disableAfter),
			"DOORSTEP_SMTP_CA_FILE": w.mails.CAFile,
		},
		EnvOf: func(process string) map[string]string { return settings[process] },
	})
	if w.cluster != nil {
		t.Cleanup(w.cluster.Kill)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.watchLog()
	w.register()
	if w.ingest, err = grpc.NewClient(w.cluster.Of("ingest")[0].Addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.ingest.Close() })
	return w
}

// connect lays a network between each pair, and returns the settings that make each process use its own.
func (w *world) connect() map[string]map[string]string {
	w.t.Helper()
	w.network = map[pair]*testkit.Proxy{}
	settings := map[string]map[string]string{}
	for _, process := range processes() {
		settings[process] = map[string]string{}
	}
	behind := strings.Split(w.servers.Env("TEST_KAFKA_BEHIND"), ",")
	for i, process := range processes() {
		address, told, _ := strings.Cut(behind[i], "=")
		w.network[pair{process, "kafka"}] = testkit.NewProxyAt(w.t, told, address)
		settings[process]["DOORSTEP_KAFKA_BROKERS"] = told
	}
	for store, at := range map[string]struct{ setting, url string }{
		"redis":    {"DOORSTEP_REDIS_URL", w.servers.Servers().Redis},
		"postgres": {"DOORSTEP_POSTGRES_URL", w.servers.Servers().Postgres},
		"smtp":     {"DOORSTEP_SMTP_URL", w.mails.URL},
	} {
		u, err := url.Parse(at.url)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, process := range w.processesOf(stores()[store]...) {
			proxy, own := testkit.NewProxy(w.t, u.Host), *u
			own.Host = proxy.Addr
			w.network[pair{process, store}] = proxy
			settings[process][at.setting] = own.String()
		}
	}
	return settings
}

// processesOf are the processes of services, all if none is named. A process stands for itself.
func (w *world) processesOf(services ...string) []string {
	var out []string
	for _, process := range processes() {
		service, _, _ := strings.Cut(process, "-")
		for _, s := range services {
			if s == service || s == process {
				out = append(out, process)
			}
		}
	}
	return out
}

// watchLog follows the commits of the senders and the states of the webhooks, past all proxies.
func (w *world) watchLog() {
	w.t.Helper()
	client, err := w.log.NewClient("away-lag", slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	w.admin = kadm.NewClient(client)
	if w.commits, err = fault.FollowCommits(w.log.Brokers); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.commits.Close)
	topics, err := w.log.Topics()
	if err != nil {
		w.t.Fatal(err)
	}
	follower, err := kafka.NewFollower(w.log, "away-states", slog.New(slog.DiscardHandler), w.noteState, topics.States)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = follower.Run(ctx)
	}()
	w.t.Cleanup(func() {
		stop()
		<-ended
	})
}

func (w *world) noteState(r *kgo.Record) {
	s, err := wire.ReadState(r)
	if err != nil {
		w.t.Errorf("states: %v", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Newer(w.states[s.WebhookID]) {
		w.states[s.WebhookID] = s
	}
	tells := w.tells[s.WebhookID]
	if tells == nil {
		tells = map[string]time.Time{}
		w.tells[s.WebhookID] = tells
	}
	for what, so := range map[string]bool{"failing": s.FailStreak > 0, "warned": !s.WarnedAt.IsZero(), "disabled": s.Disabled} {
		if _, known := tells[what]; so && !known {
			tells[what] = time.Now()
		}
	}
}

// register makes the administrators and the webhooks of the load.
func (w *world) register() {
	w.t.Helper()
	for _, a := range administrators() {
		if status, body := w.rest(w.t.Context(), http.MethodPost, "administrators", map[string]any{"email": a + "@example.com", "name": a}, nil); status != http.StatusCreated {
			w.t.Fatalf("administrator: %d %s", status, body)
		}
	}
	for i, h := range hooks() {
		id := w.webhook(fmt.Sprintf("hook-%d", i), fmt.Sprintf("/hook/%d", i), fmt.Sprintf("away.t%d", h.Types[0]))
		w.hookOf[id] = i
		w.first = id
	}
}

// webhook registers a webhook and returns its id.
func (w *world) webhook(name, path, eventType string) string {
	w.t.Helper()
	var made struct{ ID string }
	status, body := w.rest(w.t.Context(), http.MethodPost, "webhooks", map[string]any{"name": name, "url": w.target + path, "event_types": []string{eventType}}, &made)
	if status != http.StatusCreated {
		w.t.Fatalf("webhook %s: %d %s", name, status, body)
	}
	return made.ID
}

// rest makes a REST call, and decodes the answer's data into out, if given. Status 0: there was no answer within
// the context's time.
func (w *world) rest(ctx context.Context, method, path string, in, out any) (status int, body string) {
	var sent io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, err.Error()
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+w.cluster.Of("console")[0].Addr+"/api/v1/"+path, sent)
	if err != nil {
		return 0, err.Error()
	}
	maps.Copy(req.Header, http.Header{"Authorization": {"Bearer " + apiKey}, "Content-Type": {"application/json"}})
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(b, &struct{ Data any }{out}); err != nil {
			return 0, err.Error()
		}
	}
	return resp.StatusCode, string(b)
}
