package observe

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/doorstep/app"
)

// Each service counts the stores that do not answer it, store by store.
func TestAStoreThatIsAwayIsCounted(t *testing.T) {
	prefix := testkit.Prefix(t)
	networks := map[string]*testkit.Proxy{}
	var brokers []string
	brokers, networks["kafka"] = testkit.BrokerBehind(t)
	redisURL := testkit.Redis(t)
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal("the test's Redis has no URL")
	}
	networks["redis"] = testkit.NewProxy(t, options.Addr)
	var postgresURL string
	if os.Getenv("TEST_POSTGRES") != "" || os.Getenv("TEST_REQUIRE_REAL") == "1" {
		u, err := url.Parse(sqldbtest.Postgres(t).PostgresURL)
		if err != nil {
			t.Fatal("the test's PostgreSQL has no URL")
		}
		networks["postgres"] = testkit.NewProxy(t, u.Host)
		u.Host = networks["postgres"].Addr
		postgresURL = u.String()
	} else {
		t.Log("sql: SQLite, which is not counted; TEST_POSTGRES names no PostgreSQL")
	}
	a := doorstep(t, func(c *app.Config) {
		c.Kafka.Brokers, c.Kafka.TopicPrefix, c.Kafka.Embedded = brokers, prefix, true
		c.Redis.URL, c.Redis.Prefix = strings.Replace(redisURL, options.Addr, networks["redis"].Addr, 1), prefix
		c.SQL.PostgresURL = postgresURL
	})
	use(t, a)
	for _, tt := range []struct {
		store    string
		services []string // that ask it all the time, or for each event
	}{
		{"redis", []string{"matcher", "sender"}},
		{"postgres", []string{"console", "recorder"}},
		{"kafka", []string{"ingest", "matcher", "sender", "recorder", "notifier", "console"}},
	} {
		network := networks[tt.store]
		if network == nil {
			continue
		}
		before := failures(t, a)
		network.Cut()
		n := 0
		testkit.Eventually(t, patience, func() error {
			n++ // something to be done: of a type that goes to a webhook that fails too
			ask(t, a, "tenant-of-ours", http.MethodPost, "events", map[string]any{"id": fmt.Sprint(tt.store, n), "type": "of.kind_1"}, nil)
			now := failures(t, a)
			for _, service := range tt.services {
				if is := tt.store + " of " + service; now[is] <= before[is] {
					return fmt.Errorf("%s away: failures of %s: %v", tt.store, is, now[is])
				}
			}
			return nil
		})
		network.Heal()
	}
}

// failures are doorstep_store_failures_total, by "STORE of SERVICE".
func failures(t *testing.T, a *app.App) map[string]float64 {
	t.Helper()
	families, err := a.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "doorstep_store_failures_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			counted[labels["store"]+" of "+labels["service"]] = m.GetCounter().GetValue()
		}
	}
	return counted
}
