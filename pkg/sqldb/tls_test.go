package sqldb_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestPostgresOverTLS connects as libpq's parameters of the URL say, to a PostgreSQL that takes nothing but TLS.
func TestPostgresOverTLS(t *testing.T) {
	if os.Getenv("TEST_POSTGRES") == "" && os.Getenv("TEST_REQUIRE_REAL") != "1" {
		t.Skip("TEST_POSTGRES names no PostgreSQL")
	}
	ca, stranger := testkit.NewCA(t), testkit.NewCA(t)
	addr := startTLS(t, ca)
	cert, key := ca.Client(t, "doorstep")
	passwords := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(passwords, []byte("*:*:*:*:correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	trust := "sslmode=verify-full&sslrootcert=" + ca.File
	for name, tt := range map[string]struct {
		user, params string
		want         string // empty: it opens
	}{
		"verified":               {"doorstep:correct%20horse@", trust, ""},
		"password from a file":   {"doorstep@", trust + "&passfile=" + passwords, ""},
		"our certificate":        {"doorstep:correct%20horse@", trust + "&sslcert=" + cert + "&sslkey=" + key, ""},
		"encrypted, unverified":  {"doorstep:correct%20horse@", "sslmode=require", ""},
		"a stranger's authority": {"doorstep:correct%20horse@", "sslmode=verify-full&sslrootcert=" + stranger.File, "unknown authority"},
		"the system's authority": {"doorstep:correct%20horse@", "sslmode=verify-full", "unknown authority"},
		"no TLS":                 {"doorstep:correct%20horse@", "sslmode=disable", "no pg_hba.conf entry"},
		"a wrong password":       {"doorstep:battery%20staple@", trust, "password authentication failed"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := open(t.Context(), sqldb.Config{PostgresURL: "postgres://" + tt.user + addr + "/postgres?" + tt.params})
			if err == nil {
				_ = s.Close()
			}
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "horse") || strings.Contains(err.Error(), "staple")) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// startTLS runs a PostgreSQL with user doorstep, password "correct horse", for one test.
func startTLS(t *testing.T, ca *testkit.CA) (addr string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sqldb-postgres-") //nolint:usetesting // which its user can reach
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)

	cert, key := ca.Server(t)
	files := map[string]string{"password": "correct horse\n", "hba": "hostssl all all 127.0.0.1/32 scram-sha-256\n"} //nolint:dupword // all databases, all users
	for name, from := range map[string]string{"cert": cert, "key": key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(b)
	}
	uid, gid, as := unprivileged(t)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Chown(filepath.Join(dir, name), uid, gid)
	}
	_ = os.Chown(dir, uid, gid)
	data := filepath.Join(dir, "data")
	if out, err := postgres(as, "initdb", "-D", data, "-U", "doorstep", "--pwfile="+filepath.Join(dir, "password"),
		"--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	cmd := postgres(as, "postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-c", "fsync=off", "-c", "hba_file="+filepath.Join(dir, "hba"),
		"-c", "ssl=on", "-c", "ssl_cert_file="+filepath.Join(dir, "cert"), "-c", "ssl_key_file="+filepath.Join(dir, "key"), "-c", "ssl_ca_file="+ca.File)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	testkit.Eventually(t, 30*time.Second, func() error {
		out, err := postgres(as, "pg_isready", "-h", "127.0.0.1", "-p", port).CombinedOutput()
		if err != nil {
			return fmt.Errorf("postgres does not start: %w: %s", err, out)
		}
		return nil
	})
	return addr
}

// postgres is one of PostgreSQL's programs, of the newest version that Debian's directories or the PATH hold.
func postgres(as *syscall.Credential, program string, args ...string) *exec.Cmd {
	found, _ := filepath.Glob(filepath.Join("/usr/lib/postgresql/*/bin", program))
	slices.Sort(found)
	path := program
	if len(found) > 0 {
		path = found[len(found)-1]
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Dir = "/"
	return cmd
}

// unprivileged is user postgres where we are root, who may not run it.
func unprivileged(t *testing.T) (uid, gid int, as *syscall.Credential) {
	t.Helper()
	if os.Geteuid() != 0 {
		return os.Getuid(), os.Getgid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	if uid, err = strconv.Atoi(u.Uid); err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return uid, gid, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func TestPoolLimits(t *testing.T) {
	for want, cfg := range map[string]sqldb.Config{
		"postgres-max-connections: must be at least 2": {MaxConnections: 1},
		"postgres-max-idle: must be from 1":            {MaxConnections: 4, MaxIdle: 5},
		"postgres-max-idle-time: must be above 0":      {MaxIdleTime: -1},
		"postgres-connection-lifetime: must be above":  {ConnectionLifetime: -1},
	} {
		cfg.PostgresURL = (&url.URL{Scheme: "postgres", Host: "localhost"}).String()
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
