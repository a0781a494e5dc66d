package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/doorstep-dev/doorstep/pkg/embedded"
)

// scriptCommands are the scripts' own, for programs that run until they are stopped:
//
//	start NAME ARGS...          runs doorstep in the background; it prints into NAME.out and NAME.err
//	await FILE PATTERN [VAR]    waits until a line of FILE matches; VAR gets the first group
//	interrupt NAME              sends SIGINT
//	ended NAME CODE             waits for exit code CODE
//	stores                      starts a log and a Redis, and names them to the services
//	ready URL                   waits until URL answers 200
//	settled PATTERN COMMAND...  runs a command until a line of what it prints matches, e.g. what the history knows
//	publish-until-it-arrives FILE TYPE [TEXT]
//	                            publishes events of TYPE until FILE tells of one, or has TEXT: a new webhook,
//	                            and a change, takes effect within a second
func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"start": cmdStart, "await": cmdAwait, "interrupt": cmdInterrupt, "ended": cmdEnded, "publish-until-it-arrives": cmdPublish,
		"stores": cmdStores, "ready": cmdReady, "settled": cmdSettled,
	}
}

// patience bounds every wait of a script.
const patience = 30 * time.Second

// backgroundKey finds a script's background programs by name.
type backgroundKey struct{}

func background(ts *testscript.TestScript) map[string]*exec.Cmd {
	return ts.Value(backgroundKey{}).(map[string]*exec.Cmd)
}

func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	cmd := exec.Command("doorstep", args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, v := range []string{
		"PATH", "HOME", "TMPDIR", "DOORSTEP_URL", "DOORSTEP_GRPC", "DOORSTEP_KEY", "DOORSTEP_WEBHOOK_SECRET",
		"DOORSTEP_KAFKA_BROKERS", "DOORSTEP_REDIS_URL", "DOORSTEP_ADMIN_ADDR", "DOORSTEP_BOOTSTRAP_KEY", "DOORSTEP_HTTP_ADDR", "DOORSTEP_GRPC_ADDR", "DOORSTEP_ALLOW_NETWORKS", "DOORSTEP_ALLOW_HTTP", "DOORSTEP_RETRY_TIERS", "DOORSTEP_CA_FILE",
	} {
		if value := ts.Getenv(v); value != "" {
			cmd.Env = append(cmd.Env, v+"="+value)
		}
	}
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = out, errs
	ts.Check(cmd.Start())
	background(ts)[name] = cmd
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		out.Close()
		errs.Close()
	})
}

func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		text := ts.ReadFile(args[0])
		if m := pattern.FindStringSubmatch(text); m != nil {
			if len(args) > 2 {
				ts.Setenv(args[2], m[1])
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: no line matches %q within %s; it holds:\n%s", args[0], args[1], patience, text)
		}
	}
}

func cmdSettled(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v prints no line that matches %q within %s (%v)", args[1:], args[0], patience, err)
		}
	}
}

func cmdInterrupt(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(background(ts)[args[0]].Process.Signal(syscall.SIGINT))
}

func cmdEnded(ts *testscript.TestScript, _ bool, args []string) {
	cmd := background(ts)[args[0]]
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ended with exit code %s, want %s; it said:\n%s", args[0], got, args[1], ts.ReadFile(args[0]+".err"))
	}
}

func cmdPublish(ts *testscript.TestScript, _ bool, args []string) {
	text := args[len(args)-1]
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !strings.Contains(ts.ReadFile(args[0]), text); <-tick.C {
		if time.Now().After(deadline) {
			ts.Fatalf("no event of type %s arrived within %s that has %q", args[1], patience, text)
		}
		ts.Check(ts.Exec("doorstep", "publish", "--type", args[1]))
	}
}

func cmdStores(ts *testscript.TestScript, _ bool, _ []string) {
	stores, err := embedded.Open(context.Background(), embedded.Config{Dir: ts.MkAbs("stores"), Log: true, Redis: true})
	ts.Check(err)
	ts.Defer(stores.Close)
	ts.Setenv("DOORSTEP_KAFKA_BROKERS", strings.Join(stores.Brokers(), ","))
	ts.Setenv("DOORSTEP_REDIS_URL", stores.RedisURL())
}

func cmdReady(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		resp, err := http.Get(args[0])
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		ts.Check(errors.Join(err, resp.Body.Close()))
		if resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %d %s", args[0], resp.StatusCode, body)
		}
	}
}
