package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// badStart is a start of the program with a secret in what is wrong, or beside it.
type badStart struct {
	args string // commands, each tried, divided by |; SECRET stands for the secret
	env  string // NAME=value, divided by spaces
	file string // of settings
}

// badStarts is every way that we know of to get a setting wrong that holds a secret.
func badStarts() map[string]badStart {
	return map[string]badStart{
		"redis, no port":            {args: "sender | matcher | notifier", env: "DOORSTEP_REDIS_URL=redis://:SECRET@127.0.0.1:port"},
		"redis, an odd password":    {args: "sender", env: "DOORSTEP_REDIS_URL=redis://:SEC/RET#SECRET@127.0.0.1:1"},
		"redis, an escape":          {args: "sender", env: "DOORSTEP_REDIS_URL=redis://:%zzSECRET@127.0.0.1:1"},
		"redis, another scheme":     {args: "sender", env: "DOORSTEP_REDIS_URL=http://:SECRET@127.0.0.1:1"},
		"redis, an option":          {args: "sender", env: "DOORSTEP_REDIS_URL=redis://:SECRET@127.0.0.1:1/0?nonsense=SECRET"},
		"redis, two passwords":      {args: "sender", env: "DOORSTEP_REDIS_URL=redis://:SECRET@127.0.0.1:1 DOORSTEP_REDIS_PASSWORD_FILE=/etc/hostname"},
		"postgres, no port":         {args: "console | recorder | migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET@127.0.0.1:port/d"},
		"postgres, a slash":         {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET/SECRET@127.0.0.1:1/d"},
		"postgres, a hash":          {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET#SECRET@127.0.0.1:1/d"},
		"postgres, a question mark": {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET?SECRET@127.0.0.1:1/d"},
		"postgres, an at sign":      {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET@SECRET@127.0.0.1:1/d"},
		"postgres, an escape":       {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET%zz@127.0.0.1:1/d"},
		"postgres, words":           {args: "migrate", env: "DOORSTEP_POSTGRES_URL=host=127.0.0.1,port=x,password=SECRET"},
		"postgres, other words":     {args: "migrate", env: "DOORSTEP_POSTGRES_URL=Host=127.0.0.1;Username=u;Password=SECRET"},
		"postgres, open words":      {args: "migrate", env: "DOORSTEP_POSTGRES_URL=host='127.0.0.1'password='SECRET"},
		"postgres, an option":       {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET@127.0.0.1:1/d?sslmode=nonsense"},
		"postgres, password option": {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://127.0.0.1:x/d?password=SECRET&user=u"},
		"postgres, another scheme":  {args: "migrate", env: "DOORSTEP_POSTGRES_URL=mysql://u:SECRET@127.0.0.1:1/d"},
		"postgres, nobody there":    {args: "migrate", env: "DOORSTEP_POSTGRES_URL=postgres://u:SECRET@127.0.0.1:1/d?connect_timeout=1"},
		"smtp, no port":             {args: "notifier", env: "DOORSTEP_SMTP_URL=smtp://u:SECRET@127.0.0.1:port"},
		"smtp, another scheme":      {args: "notifier", env: "DOORSTEP_SMTP_URL=ftp://u:SECRET@127.0.0.1"},
		"smtp, an option":           {args: "notifier", env: "DOORSTEP_SMTP_URL=smtp://u:SECRET@127.0.0.1?starttls=SECRET"},
		"smtp, a path":              {args: "notifier", env: "DOORSTEP_SMTP_URL=smtp://u:SECRET@127.0.0.1/SECRET"},
		"smtp, no user":             {args: "notifier", env: "DOORSTEP_SMTP_URL=smtp://:SECRET@127.0.0.1"},
		"kafka, no user":            {args: "ingest | topics check", env: "DOORSTEP_KAFKA_PASSWORD=SECRET DOORSTEP_KAFKA_SASL=PLAIN"},
		"kafka, no mechanism":       {args: "ingest", env: "DOORSTEP_KAFKA_PASSWORD=SECRET DOORSTEP_KAFKA_USER=u"},
		"kafka, a mechanism":        {args: "ingest", env: "DOORSTEP_KAFKA_PASSWORD=SECRET DOORSTEP_KAFKA_USER=u DOORSTEP_KAFKA_SASL=nonsense"},
		"kafka, two passwords":      {args: "ingest", env: "DOORSTEP_KAFKA_PASSWORD=SECRET DOORSTEP_KAFKA_PASSWORD_FILE=/etc/hostname DOORSTEP_KAFKA_USER=u DOORSTEP_KAFKA_SASL=PLAIN"},
		"a first key with spaces":   {args: "console", env: "DOORSTEP_POSTGRES_URL=postgres://127.0.0.1:1/d", file: "bootstrap-key: 'SECRET SECRET'\n"},
		"sealing keys":              {args: "console | sender", env: "DOORSTEP_SEALING_KEYS=k1:SECRET DOORSTEP_POSTGRES_URL=postgres://127.0.0.1:1/d DOORSTEP_REDIS_URL=redis://127.0.0.1:1"},
		"sealing keys without id":   {args: "console | sender", env: "DOORSTEP_SEALING_KEYS=SECRET DOORSTEP_POSTGRES_URL=postgres://127.0.0.1:1/d DOORSTEP_REDIS_URL=redis://127.0.0.1:1"},
		"a file that is no YAML":    {args: "ingest", file: "kafka-password: [SECRET\n"},
		"a file of another type":    {args: "ingest", file: "kafka-password: {a: SECRET}\n"},
		"a file that is a text":     {args: "ingest", file: "SECRET\n"},
		"a client, nobody there":    {args: "webhooks list | keys list | tail", env: "DOORSTEP_URL=http://127.0.0.1:1 DOORSTEP_KEY=SECRET"},
		"a client, a bad address":   {args: "webhooks list", env: "DOORSTEP_URL=http://u:SECRET@127.0.0.1:port DOORSTEP_KEY=SECRET"},
		"a client, a good address":  {args: "webhooks list", env: "DOORSTEP_URL=http://u:SECRET@127.0.0.1:1 DOORSTEP_KEY=SECRET"},
		"a client, gRPC":            {args: "publish --type a.b --data {}", env: "DOORSTEP_GRPC=127.0.0.1:1 DOORSTEP_KEY=SECRET"},
		"a client, an odd key":      {args: "webhooks list | publish --type a.b --data {}", env: "DOORSTEP_URL=http://127.0.0.1:1 DOORSTEP_GRPC=127.0.0.1:1 DOORSTEP_KEY=SECRET\n\x01"},
		"help": {args: "--help | up --help | sender --help | console --help | ingest --help | notifier --help | recorder --help | matcher --help | webhooks list --help",
			env:  "DOORSTEP_KEY=SECRET DOORSTEP_REDIS_URL=redis://:SECRET@h DOORSTEP_POSTGRES_URL=postgres://u:SECRET@h/d DOORSTEP_SMTP_URL=smtp://u:SECRET@h DOORSTEP_KAFKA_PASSWORD=SECRET DOORSTEP_BOOTSTRAP_KEY=SECRET DOORSTEP_SEALING_KEYS=k1:SECRET",
			file: "kafka-password: SECRET\nredis-url: redis://:SECRET@h\n"},
		"another flag beside it": {args: "ingest --kafka-password=SECRET --nonsense"},
		"a misspelt flag":        {args: "ingest --kafka-pasword=SECRET"},
		"a secret to verify by":  {args: "verify --secret whsec_SECRET /dev/null | listen --secret whsec_SECRET"},
	}
}

// A setting that is wrong is named, and what is in it is not told: errors end up in logs and tickets.
func TestWrongSettingsAreNotRepeated(t *testing.T) {
	t.Parallel()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range badStarts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for args := range strings.SplitSeq(b.args, " | ") {
				b.start(t, bin, args, name == "help")
			}
		})
	}
}

// start runs one command with a secret of its own, and looks for it in what it says.
func (b badStart) start(t *testing.T, bin, args string, good bool) {
	t.Helper()
	secret := planted{name: "the secret", core: random()}
	with := func(text string) string { return strings.ReplaceAll(text, "SECRET", secret.core) }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, strings.Fields(with(args))...)
	cmd.Env = cleanEnv()
	if b.env != "" {
		cmd.Env = append(cmd.Env, strings.Split(with(b.env), " ")...)
	}
	if b.file != "" {
		file := filepath.Join(t.TempDir(), "settings.yaml")
		if err := os.WriteFile(file, []byte(with(b.file)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "DOORSTEP_CONFIG="+file)
	}
	out, err := cmd.CombinedOutput()
	if failed := err != nil; failed == good || ctx.Err() != nil {
		t.Errorf("doorstep %s ended with %v: %s", args, err, out)
	}
	leaks, _ := search([]planted{secret}, []evidence{{"what `doorstep " + args + "` says", out}})
	for _, l := range leaks {
		t.Error(l)
	}
	t.Logf("doorstep %s: %.200s", args, out)
}

// cleanEnv is the environment without settings, but with stores that nobody is at.
func cleanEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "DOORSTEP_KAFKA_BROKERS=127.0.0.1:1", "DOORSTEP_ADMIN_ADDR=127.0.0.1:0"}
}

// Each service by itself, with every secret in its environment and none of its stores there, says what it waits for
// and shows its insides at its admin address and in profiles: none of it is a secret.
func TestServicesThatWaitTellNoSecret(t *testing.T) {
	t.Parallel()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"console", "ingest", "matcher", "sender", "recorder", "notifier"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			p := plan(true)
			cmd := exec.Command(bin, service)
			cmd.Env = append(cleanEnv(), "DOORSTEP_LOG_LEVEL=debug", "DOORSTEP_HTTP_ADDR=127.0.0.1:0", "DOORSTEP_GRPC_ADDR=127.0.0.1:0", "DOORSTEP_PPROF_ADDR=127.0.0.1:0",
				"DOORSTEP_KAFKA_SASL=PLAIN", "DOORSTEP_KAFKA_USER=u", "DOORSTEP_KAFKA_PASSWORD="+p.wrongSecret,
				"DOORSTEP_REDIS_URL=redis://:"+p.redisPassword+"@127.0.0.1:1", "DOORSTEP_POSTGRES_URL=postgres://u:"+p.sqlPassword+"@127.0.0.1:1/d",
				"DOORSTEP_SMTP_URL=smtp://u:"+p.smtpPassword+"@127.0.0.1:1", "DOORSTEP_BOOTSTRAP_KEY="+p.platformKey, "DOORSTEP_SEALING_KEYS=k1:"+p.sealingKey)
			logged := &safeBuffer{}
			cmd.Stdout, cmd.Stderr = logged, logged
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			all := insides(t, logged)
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("ended with %v: %s", err, logged.bytes())
				}
			case <-time.After(patience):
				_ = cmd.Process.Kill()
				t.Error("does not end")
			}
			leaks, _ := search(p.values, append(all, evidence{"log", logged.bytes()}))
			for _, l := range leaks {
				t.Error(l)
			}
		})
	}
}

// insides is what the admin address and profiles show of a service that has just begun.
func insides(t *testing.T, logged *safeBuffer) (all []evidence) {
	t.Helper()
	var started struct{ Admin, Pprof string }
	testkit.Eventually(t, patience, func() error {
		for line := range bytes.Lines(logged.bytes()) {
			_ = json.Unmarshal(line, &started) // each field is on a line of its own
		}
		if started.Admin == "" || started.Pprof == "" {
			return fmt.Errorf("no admin or pprof address: %s", logged.bytes())
		}
		return nil
	})
	urls := []string{started.Admin + "/healthz", started.Admin + "/readyz", started.Admin + "/metrics"}
	for _, path := range profilePaths {
		urls = append(urls, started.Pprof+"/"+path)
	}
	for _, url := range urls {
		resp, err := http.Get("http://" + url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || len(b) == 0 {
			t.Fatalf("%s: %v", url, err)
		}
		all = append(all, evidence{"admin/" + url, b})
	}
	return all
}
