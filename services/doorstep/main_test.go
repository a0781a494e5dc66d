package main

import (
	"flag"
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"doorstep": func() { os.Exit(cli.Main(os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})) },
	})
}

// update writes what the program prints now into the scripts, such as every --help.
var update = flag.Bool("update", false, "write what the program prints into the scripts")

// TestScripts runs the program as people do. A script's environment is its own: no DOORSTEP_* of the
// caller gets in.
func TestScripts(t *testing.T) {
	ca, files := testkit.NewCA(t), map[string]string{}
	files["CA"] = ca.File
	files["SERVER_CERT"], files["SERVER_KEY"] = ca.Server(t)
	files["CLIENT_CERT"], files["CLIENT_KEY"] = ca.Client(t, "producer")
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, Cmds: scriptCommands(),
		Setup: func(e *testscript.Env) error {
			e.Values[backgroundKey{}] = map[string]*exec.Cmd{}
			// Certificates of one authority, for those who want them.
			for name, file := range files {
				e.Setenv(name, file)
			}
			return nil
		},
	})
}
