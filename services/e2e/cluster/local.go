package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Local are servers of this machine that deploy/local/servers made, on ports of their own.
type Local struct {
	Dir string // theirs

	script string
	parent string
	env    map[string]string
}

// StartLocal makes and starts servers. Arguments are those of `servers up`, e.g. "--brokers", "3", "kafka"; without
// a kind, all kinds. It is for tests in a folder of services/e2e, and for Down to end.
func StartLocal(args ...string) (*Local, error) {
	script, err := filepath.Abs("../../../deploy/local/servers")
	if err != nil {
		return nil, err
	}
	parent, err := os.MkdirTemp("", "doorstep-servers-") // where another user, PostgreSQL's, may go
	if err != nil {
		return nil, err
	}
	l := &Local{Dir: filepath.Join(parent, "servers"), script: script, parent: parent, env: map[string]string{}}
	if err := os.Chmod(parent, 0o755); err != nil { //nolint:gosec // as above
		return nil, errors.Join(err, os.RemoveAll(parent))
	}
	if err := l.Do("up", args...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(parent))
	}
	out, err := exec.Command("sh", "-c", `. "$0/env" && env`, l.Dir).Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s/env: %w", l.Dir, err), l.Down())
	}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			l.env[name] = value
		}
	}
	return l, nil
}

// Do runs `servers verb` for some of them, e.g. Do("kill", "redis").
func (l *Local) Do(verb string, args ...string) error {
	if out, err := exec.Command(l.script, append([]string{verb, l.Dir}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("servers %s %v: %w: %s", verb, args, err, out)
	}
	return nil
}

// Env is what the servers' file says, e.g. of TEST_SMTP.
func (l *Local) Env(name string) string { return l.env[name] }

// Servers are the addresses.
func (l *Local) Servers() Servers {
	return Servers{Kafka: l.env["TEST_KAFKA"], Redis: l.env["TEST_REDIS"], Postgres: l.env["TEST_POSTGRES"], ACLs: l.env["TEST_KAFKA_ACLS"]}
}

// Down ends the servers and forgets their data.
func (l *Local) Down() error { return errors.Join(l.Do("down"), os.RemoveAll(l.parent)) }
