package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

// processHouse runs a process for each service on the real servers, with users and passwords of its own at Redis and
// PostgreSQL, and a network before both that can be cut.
func processHouse(t *testing.T, p *plants) *house {
	t.Helper()
	servers, ok := cluster.FromEnv()
	if !ok {
		t.Fatal("E2E_RUNNER=processes: TEST_KAFKA, TEST_REDIS and TEST_POSTGRES must name servers")
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	prefix := testkit.Prefix(t)
	h := &house{t: t, p: p, mails: newTellingServer(t), kafka: logAt(servers.Kafka, prefix), keyPrefix: prefix, proxy: map[string]*testkit.Proxy{}, spans: testkit.NewCollector(t)}
	servers.Redis = h.redisUser(servers.Redis)
	servers.Postgres = h.postgresUser(servers.Postgres)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	env := map[string]string{
		"DOORSTEP_TOPIC_PREFIX": prefix, "DOORSTEP_REDIS_PREFIX": prefix, "DOORSTEP_RETRY_TIERS": tiers, "DOORSTEP_LOG_LEVEL": "debug",
		"DOORSTEP_ALLOW_NETWORKS": "127.0.0.0/8", "DOORSTEP_ALLOW_HTTP": "true", "DOORSTEP_SMTP_URL": h.smtpURL(),
		"DOORSTEP_SEALING_KEYS": "k1:" + p.sealingKey, "DOORSTEP_WARN_AFTER": "3", "DOORSTEP_DISABLE_AFTER": "6",
		"DOORSTEP_PPROF_ADDR": "127.0.0.1:0",
	}
	maps.Copy(env, h.tracing())
	c, err := cluster.Start(ctx, cluster.Config{Program: bin, Dir: dir, Servers: servers, Key: p.platformKey, Env: env})
	stopped := false
	h.stop = func() {
		if !stopped {
			stopped = true
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(h.stop)
	if err != nil {
		t.Fatal(err)
	}
	h.url, h.grpc = "http://"+c.Of("console")[0].Addr, dial(t, c.Of("ingest")[0].Addr)
	for _, process := range c.Processes {
		h.admins = append(h.admins, "http://"+process.Admin())
	}
	h.logs = func() []byte {
		var all bytes.Buffer
		files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Error(err)
			}
			all.Write(b)
		}
		return all.Bytes()
	}
	for _, found := range regexp.MustCompile(`"pprof":"([^"]+)"`).FindAllSubmatch(h.logs(), -1) {
		h.profiles = append(h.profiles, "http://"+string(found[1]))
	}
	if len(h.profiles) != len(c.Processes) {
		t.Fatalf("%d of %d processes serve profiles", len(h.profiles), len(c.Processes))
	}
	return h
}

// redisUser makes a user with the planted password and returns its URL, through a proxy.
func (h *house) redisUser(server string) string {
	h.t.Helper()
	options, err := redis.ParseURL(server)
	if err != nil {
		h.t.Fatal("TEST_REDIS is not a URL")
	}
	h.redis = redis.NewClient(options)
	name := strings.ToLower("u" + random())
	if err := h.redis.Do(h.t.Context(), "ACL", "SETUSER", name, "on", ">"+h.p.redisPassword, "~*", "&*", "+@all").Err(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = h.redis.Do(context.Background(), "ACL", "DELUSER", name).Err()
		testkit.DeleteKeys(h.t, server, h.keyPrefix)
		_ = h.redis.Close()
	})
	h.proxy["redis"] = testkit.NewProxy(h.t, options.Addr)
	return "redis://" + name + ":" + h.p.redisPassword + "@" + h.proxy["redis"].Addr
}

// postgresUser makes a user with the planted password, and a schema, and returns its URL, through a proxy.
func (h *house) postgresUser(server string) string {
	h.t.Helper()
	name := strings.ToLower("u" + random())
	db, err := sql.Open("pgx", server)
	if err == nil {
		_, err = db.ExecContext(h.t.Context(), `CREATE ROLE `+name+` LOGIN SUPERUSER PASSWORD '`+h.p.sqlPassword+`'`)
	}
	if err != nil {
		h.t.Fatal("no user can be made at TEST_POSTGRES: ", err)
	}
	h.t.Cleanup(func() { // behind the schema's
		if _, err := db.ExecContext(context.Background(), `DROP ROLE `+name); err != nil {
			h.t.Error(err)
		}
		_ = db.Close()
	})
	schema := sqldbtest.Postgres(h.t).PostgresURL
	h.sql = []database{{"pgx", schema, `SELECT relname FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind IN ('r', 'p') AND NOT relispartition`}}
	u, err := url.Parse(schema)
	if err != nil {
		h.t.Fatal(err)
	}
	h.proxy["postgres"] = testkit.NewProxy(h.t, u.Host)
	u.User, u.Host = url.UserPassword(name, h.p.sqlPassword), h.proxy["postgres"].Addr
	return u.String()
}
