// Command doorstep is the whole of Doorstep: every service, all of them in one process
// (doorstep up), and the command line that talks to them.
package main

import (
	"os"
	_ "time/tzdata" // conditions name time zones, and neither small images nor Windows have them

	"github.com/doorstep-dev/doorstep/services/doorstep/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
