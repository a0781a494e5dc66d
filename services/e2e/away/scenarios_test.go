package away

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// scenario is a fault, and what Doorstep does meanwhile.
type scenario struct {
	fault string
	short time.Duration // how long it lasts; 0: not in the short form
	full  time.Duration
	begin func(*world) error
	heal  func(*world) error // beside all proxies; nil: nothing
	// stops are the flows that cannot go on, and late those that may fall behind; all others go on.
	stops, late []flow
	// settle is how long after the fault began what stops may go on: what is cut off has something left to do.
	settle  time.Duration
	unready []string // services that say that they are not ready; all others stay ready
	silent  []string // those that say so once Kafka has not answered them for silence
	repeats bool     // senders cannot commit what they do
	forgets bool     // what is published again may be delivered again
	refused bool     // mails of the time are refused for good: they end, as failed
	moment  bool     // the fault is over when begin returns; what follows is the time to catch up
}

// hurt does something to the network between services and a store.
func hurt(store string, do func(*testkit.Proxy), services ...string) func(*world) error {
	if len(services) == 0 {
		services = stores()[store]
	}
	return func(w *world) error {
		for _, process := range w.processesOf(services...) {
			do(w.network[pair{process, store}])
		}
		return nil
	}
}

func server(verb, name string) func(*world) error {
	return func(w *world) error { return w.servers.Do(verb, name) }
}

// all does one after the other.
func all(do ...func(*world) error) func(*world) error {
	return func(w *world) error {
		for _, f := range do {
			if err := f(w); err != nil {
				return err
			}
		}
		return nil
	}
}

func delay(d time.Duration) func(*testkit.Proxy) { return func(p *testkit.Proxy) { p.Delay(d) } }

func cut(p *testkit.Proxy) { p.Cut() }

func hang(p *testkit.Proxy) { p.Hang() }

// half ends the connection at every other call, before or after the store has heard it.
func half(p *testkit.Proxy) { p.Unsteady(0.3) }

// scenarios are all faults in the order in which they are tried.
func scenarios() []scenario {
	return slices.Concat(redisAway(), postgresAway(), smtpAway(), kafkaAway(), pairs())
}

// Without Redis everything goes on, from the owners' copies.
func redisAway() []scenario {
	away := func(s scenario) scenario {
		s.full, s.forgets, s.settle = 20*time.Second, true, time.Second
		return s
	}
	return []scenario{
		away(scenario{fault: "Redis killed", begin: server("kill", "redis"), heal: server("start", "redis")}),
		away(scenario{fault: "Redis stopped", begin: server("stop", "redis"), heal: server("start", "redis")}),
		away(scenario{fault: "Redis slow, 1 s", begin: hurt("redis", delay(time.Second))}),
		away(scenario{fault: "Redis failing half of its calls", short: 5 * time.Second, begin: hurt("redis", half)}),
		away(scenario{fault: "Redis hanging", begin: hurt("redis", hang)}),
		away(scenario{fault: "Redis full", begin: configRedis("maxmemory", "1"), heal: configRedis("maxmemory", "0")}),
		away(scenario{fault: "Redis restarted empty", moment: true, begin: all(server("kill", "redis"), server("empty", "redis"), server("start", "redis"))}),
		away(scenario{fault: "Redis hanging for senders", begin: hurt("redis", hang, "sender")}),
		away(scenario{fault: "Redis hanging for matchers", begin: hurt("redis", hang, "matcher")}),
		away(scenario{fault: "Redis hanging for the notifier", begin: hurt("redis", hang, "notifier")}),
		away(scenario{fault: "Redis hanging for one sender", begin: hurt("redis", hang, "sender-0")}),
	}
}

// configRedis changes a setting of Redis, past all proxies.
func configRedis(setting, value string) func(*world) error {
	return func(w *world) error {
		options, err := redis.ParseURL(w.servers.Servers().Redis)
		if err != nil {
			return err
		}
		client := redis.NewClient(options)
		defer client.Close()
		return client.ConfigSet(context.Background(), setting, value).Err()
	}
}

// Without PostgreSQL the API and the history wait, nothing else.
func postgresAway() []scenario {
	sql := []flow{rest, restOld, record}
	away := func(s scenario) scenario {
		if s.stops == nil && s.late == nil {
			s.stops = sql
			s.unready = []string{"recorder"} // a console publishes without SQL, and says 503 to the rest
		}
		s.late = append(s.late, restLog)
		s.settle = 2 * time.Second
		return s
	}
	var taken []*pgx.Conn
	return []scenario{
		away(scenario{
			fault: "PostgreSQL stopped", short: 8 * time.Second, full: 5 * time.Minute,
			begin: server("stop", "postgres"), heal: server("start", "postgres"),
		}),
		away(scenario{fault: "PostgreSQL hanging", full: time.Minute, begin: hurt("postgres", hang)}),
		away(scenario{
			fault: "PostgreSQL out of connections", full: 30 * time.Second,
			begin: func(w *world) (err error) { taken, err = w.takeConnections(); return err },
			heal: func(*world) (err error) {
				for _, c := range taken {
					err = errors.Join(err, c.Close(context.Background()))
				}
				return err
			},
		}),
		away(scenario{fault: "PostgreSQL slow, 1 s", full: 30 * time.Second, begin: hurt("postgres", delay(time.Second)), late: []flow{rest, restOld, record}}),
		away(scenario{
			fault: "PostgreSQL killed in its transactions, five times", moment: true, full: 30 * time.Second, late: sql,
			begin: func(w *world) error {
				for range 5 {
					if err := all(server("kill", "postgres"), server("start", "postgres"))(w); err != nil {
						return err
					}
					time.Sleep(time.Second)
				}
				return nil
			},
		}),
		away(scenario{fault: "PostgreSQL failing half of its calls", full: 20 * time.Second, begin: hurt("postgres", half), late: sql}),
	}
}

// takeConnections takes all that PostgreSQL has to give, also from those who have them.
func (w *world) takeConnections() (taken []*pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, w.servers.Servers().Postgres)
		if err != nil {
			if len(taken) < 50 {
				return taken, fmt.Errorf("after %d connections: %w", len(taken), err)
			}
			return taken, nil
		}
		taken = append(taken, conn)
		mine := make([]uint32, len(taken))
		for i, c := range taken {
			mine[i] = c.PgConn().PID()
		}
		if _, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND NOT pid = ANY($1)`, mine); err != nil {
			return taken, err
		}
	}
}

// Without a mail server mails wait, nothing else.
func smtpAway() []scenario {
	file := func(name string) (begin, heal func(*world) error) {
		path := func(w *world) string { return filepath.Join(w.servers.Dir, name) }
		return func(w *world) error { return os.WriteFile(path(w), nil, 0o600) }, func(w *world) error { return os.Remove(path(w)) }
	}
	away := func(s scenario) scenario {
		s.stops = []flow{mail}
		return s
	}
	deferring := away(scenario{fault: "mail server refusing recipients for now (451)", full: 20 * time.Second})
	deferring.begin, deferring.heal = file("smtp.defer")
	refusing := away(scenario{fault: "mail server refusing recipients for good (550)", refused: true, full: 10 * time.Second})
	refusing.begin, refusing.heal = file("smtp.refuse")
	stalling := away(scenario{fault: "mail server silent after DATA", full: 20 * time.Second})
	stalling.begin, stalling.heal = file("smtp.stall")
	return []scenario{
		away(scenario{fault: "mail server refusing connections", short: 5 * time.Second, full: 20 * time.Second, begin: hurt("smtp", cut)}),
		deferring, refusing, stalling,
		{fault: "mail server slow, 1 s", full: 30 * time.Second, begin: hurt("smtp", delay(time.Second)), late: []flow{mail}},
	}
}

// Without Kafka nothing is acknowledged, and nothing is sent.
func kafkaAway() []scenario {
	nothing := []flow{publish, post, disable, mail, record, restLog}
	return []scenario{
		{
			fault: "Kafka killed", short: 5 * time.Second, full: time.Minute, repeats: true, settle: time.Second, stops: nothing,
			begin: server("kill", "kafka-1"), heal: server("start", "kafka-1"), unready: []string{"ingest"}, silent: readers(),
		},
		{
			fault: "Kafka stopped", full: 20 * time.Second, repeats: true, settle: 6 * time.Second, stops: nothing,
			begin: server("stop", "kafka-1"), heal: server("start", "kafka-1"), unready: []string{"ingest"}, silent: readers(),
		},
		{
			fault: "Kafka hanging for all", full: 30 * time.Second, repeats: true, settle: 7 * time.Second, stops: nothing,
			begin: hurt("kafka", hang), unready: []string{"ingest"}, silent: readers(),
		},
		{fault: "Kafka slow, 500 ms", full: 30 * time.Second, settle: 5 * time.Second, begin: hurt("kafka", delay(500*time.Millisecond)), late: []flow{record, post}},
		{fault: "Kafka hanging for one sender", full: 30 * time.Second, repeats: true, settle: 11 * time.Second, begin: hurt("kafka", hang, "sender-0"), silent: []string{"sender-0"}, late: []flow{disable, mail}},
		{fault: "Kafka hanging for one matcher", full: 30 * time.Second, settle: 11 * time.Second, begin: hurt("kafka", hang, "matcher-0"), silent: []string{"matcher-0"}, late: []flow{disable, mail}},
		{fault: "Kafka hanging for one recorder", full: 30 * time.Second, settle: 11 * time.Second, begin: hurt("kafka", hang, "recorder-0"), silent: []string{"recorder-0"}, late: []flow{record}},
	}
}

// readers are the services that read Kafka in a group.
func readers() []string { return []string{"matcher", "notifier", "recorder", "sender"} }

// without says what stops when a service is cut off from a store.
func without(service, store string) (stops, late []flow, unready []string) {
	switch store + " " + service {
	case "kafka console":
		return []flow{restLog}, nil, nil
	case "kafka ingest":
		return []flow{publish, post, disable, mail, record}, nil, []string{"ingest"}
	case "kafka matcher":
		return []flow{post, disable, mail, record}, nil, nil
	case "kafka notifier":
		return []flow{mail}, nil, nil
	case "kafka recorder":
		return []flow{record}, nil, nil
	case "kafka sender":
		return []flow{post, disable, mail}, nil, nil
	case "postgres console":
		return []flow{rest, restOld}, []flow{restLog, record}, nil
	case "postgres recorder":
		return []flow{record}, nil, []string{"recorder"}
	case "smtp notifier":
		return []flow{mail}, nil, nil
	}
	return nil, nil, nil
}

// pairs are the matrix of each service with each of its stores and each fault of the network between them.
func pairs() []scenario {
	var out []scenario
	for _, store := range []string{"kafka", "redis", "postgres", "smtp"} {
		for _, service := range stores()[store] {
			between := fmt.Sprintf("%s – %s: ", service, store)
			stops, late, unready := without(service, store)
			forgets, repeats := store == "redis" && service == "matcher", store == "kafka" && service == "sender"
			var silent []string
			if store == "kafka" && slices.Contains(readers(), service) {
				silent = []string{service}
			}
			hanging := scenario{
				fault: between + "hanging", full: 12 * time.Second, settle: 2 * time.Second, begin: hurt(store, hang, service),
				stops: stops, late: late, unready: unready, forgets: forgets, repeats: repeats, silent: silent,
			}
			if store == "kafka" {
				hanging.full, hanging.settle = 30*time.Second, 7*time.Second
			}
			if repeats {
				hanging.short = 13 * time.Second
			}
			everything := slices.Concat(stops, late)
			out = append(out, hanging, scenario{
				fault: between + "latency 300 ms", full: 8 * time.Second, settle: 2 * time.Second,
				begin: hurt(store, delay(300*time.Millisecond), service), late: everything, forgets: forgets,
			}, scenario{
				fault: between + "resets", full: 8 * time.Second, settle: time.Second,
				begin: hurt(store, (*testkit.Proxy).Reset, service), late: everything, unready: unready, silent: silent, forgets: forgets, repeats: repeats,
			})
		}
	}
	return out
}
