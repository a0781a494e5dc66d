package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Servers are the stores that are measured against. One without an address is embedded.
type Servers struct {
	Kafka kafka.Config
	Redis redisstate.Config
	SQL   sqldb.Config
}

// Options say how large things are.
type Options struct {
	BodyBytes int `json:"body_bytes"` // of each event's data and each POST
	Webhooks  int `json:"webhooks"`   // that deliveries go to, where a case does not say otherwise
	InFlight  int `json:"in_flight"`  // POSTs that the bare loops have in flight
}

// Bed is the ground that one run of a case stands on. What the case makes of it ends with the run.
type Bed struct {
	Time time.Duration
	Options

	servers   Servers
	program   string
	dir       string
	prefix    string // of topics, and of keys in Redis
	thread    *thread
	processes []*Process
	closers   []func(context.Context) error // the last comes first
}

// tidyWithin bounds what a run leaves to be tidied away, such as topics.
const tidyWithin = time.Minute

// newBed makes a bed whose topics and keys are under a name of its own below prefix.
func newBed(cfg Config, prefix string, t *thread) (*Bed, error) {
	dir, err := os.MkdirTemp("", "doorstep-bench-")
	if err != nil {
		return nil, fmt.Errorf("a directory for the run: %w", err)
	}
	b := &Bed{Time: cfg.Time, Options: cfg.Options, servers: cfg.Servers, program: cfg.Program, dir: dir, thread: t}
	b.prefix = prefix + uuid.NewString()[:8] + "."
	b.later(func(context.Context) error { return os.RemoveAll(dir) })
	return b, nil
}

// Embedded reports whether the log is the embedded one.
func (b *Bed) Embedded() bool { return !b.Kafka() }

// Kafka reports whether there is a Kafka to measure against.
func (b *Bed) Kafka() bool { return len(b.servers.Kafka.Brokers) > 0 }

// Postgres reports whether there is a PostgreSQL to measure against.
func (b *Bed) Postgres() bool { return b.servers.SQL.PostgresURL != "" }

// Dir is a fresh directory.
func (b *Bed) Dir() string { return b.dir }

// later lets f run at the end, before what was there already.
func (b *Bed) later(f func(context.Context) error) { b.closers = append(b.closers, f) }

// close ends every process, and tidies away what was made. It errs if a process had ended by itself.
func (b *Bed) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
	defer cancel()
	var errs []error
	for _, p := range b.processes {
		if p.Exited() {
			errs = append(errs, p.Stop(ctx))
		}
	}
	for _, f := range slices.Backward(b.closers) {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// Start starts `doorstep args` under a name of its own in this run and returns when it is ready. env are settings beside those of
// every child: ports of its own, receivers on loopback allowed, the name as its instance. No setting of the bench's
// own environment gets through.
func (b *Bed) Start(ctx context.Context, name string, env []string, args ...string) (*Process, error) {
	p, err := launch{program: b.program, dir: b.dir, name: name, env: env, args: args}.start(ctx, b.thread)
	if err != nil {
		return nil, err
	}
	b.processes = append(b.processes, p)
	b.later(func(context.Context) error { p.Kill(); return nil })
	return p, nil
}

// Servers are the settings of the given servers, under prefixes of this run: none if all is embedded.
func (b *Bed) Servers() []string {
	var env []string
	if b.Kafka() {
		k := b.servers.Kafka
		k.TopicPrefix = b.prefix
		env = append(env, environment(k)...)
		b.deleteTopicsLater(k)
	}
	if b.servers.Redis.URL != "" {
		r := b.servers.Redis
		r.Prefix = b.prefix
		env = append(env, environment(r)...)
		b.later(func(ctx context.Context) error { return redisstate.Clear(ctx, r) })
	}
	return env
}

// Log is a log to fill and to read, whose topics are there.
type Log struct {
	Kafka    kafka.Config
	Topics   wire.Topics
	Client   *kgo.Client
	RedisURL string
	Env      []string // settings that make a service use all this
	Process  *Process // hosts what is embedded; nil if Kafka and Redis are both given
}

// Log makes the log of this run: on the given servers under a prefix of its own, else embedded in a process of its own. It is
// called once in a run.
func (b *Bed) Log(ctx context.Context) (*Log, error) {
	l := &Log{Env: b.Servers(), Kafka: b.servers.Kafka, RedisURL: b.servers.Redis.URL}
	if err := b.embed(ctx, l); err != nil {
		return nil, err
	}
	l.Kafka.TopicPrefix = b.prefix
	var err error
	if l.Topics, err = l.Kafka.Topics(); err != nil {
		return nil, err
	}
	if l.Client, err = b.client(l, "bench"); err != nil {
		return nil, err
	}
	var options kafka.TopicOptions
	if b.Embedded() {
		options = kafka.EmbeddedTopics()
	}
	if err := kafka.Apply(ctx, kadm.NewClient(l.Client), l.Topics, options); err != nil {
		return nil, fmt.Errorf("make topics: %w", err)
	}
	return l, nil
}

// embed starts what of the log is not given.
func (b *Bed) embed(ctx context.Context, l *Log) (err error) {
	args := []string{"bench-part", "stores", "--dir", b.dir + "/stores"}
	if b.Kafka() {
		args = append(args, "--no-kafka")
	}
	if l.RedisURL != "" {
		args = append(args, "--no-redis")
	}
	if b.Kafka() && l.RedisURL != "" {
		return nil
	}
	if l.Process, err = b.Start(ctx, "log", nil, args...); err != nil {
		return err
	}
	var s Stores
	if err := getJSON(ctx, "http://"+l.Process.Admin()+"/stores", &s); err != nil {
		return err
	}
	if b.Embedded() {
		l.Kafka = kafka.Config{Brokers: s.Brokers, TopicPrefix: b.prefix, RetryTiers: cmp.Or(l.Kafka.RetryTiers, "1m,5m,60m")}
		l.Env = append(l.Env, environment(l.Kafka)...)
		l.Kafka.Embedded = true
	}
	if l.RedisURL == "" {
		l.RedisURL = s.Redis
		l.Env = append(l.Env, environment(redisstate.Config{URL: s.Redis, Prefix: b.prefix})...)
	}
	return nil
}

// client makes a client of the log that lives as long as the run.
func (b *Bed) client(l *Log, id string, opts ...kgo.Opt) (*kgo.Client, error) {
	client, err := l.Kafka.NewClient(id, slog.New(slog.DiscardHandler), opts...)
	if err != nil {
		return nil, err
	}
	b.later(func(context.Context) error { client.Close(); return nil })
	return client, nil
}

// deleteTopicsLater deletes the topics of a run on a Kafka that others use too.
func (b *Bed) deleteTopicsLater(cfg kafka.Config) {
	b.later(func(ctx context.Context) error {
		client, err := cfg.NewClient("bench-tidy", slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer client.Close()
		return deleteTopics(ctx, kadm.NewClient(client), cfg.TopicPrefix)
	})
}

// SQL is the settings that make a service use a fresh schema of the given PostgreSQL; none if there is none.
func (b *Bed) SQL(ctx context.Context) ([]string, error) {
	if !b.Postgres() {
		return nil, nil
	}
	cfg, drop, err := freshSchema(ctx, b.servers.SQL)
	if err != nil {
		return nil, err
	}
	b.later(drop)
	return environment(cfg), nil
}

// getJSON reads what a child's own address says.
func getJSON(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: status %d", url, resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}
