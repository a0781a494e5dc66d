package cli

import (
	"fmt"
	"runtime"

	"github.com/alecthomas/kong"

	"github.com/doorstep-dev/doorstep/pkg/obs"
)

type versionCmd struct {
	Output output `embed:""`
}

// Run prints what this program is.
func (c *versionCmd) Run(streams IO) error {
	v := struct {
		Version  string `json:"version"`
		Commit   string `json:"commit"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{obs.Version(), obs.Commit(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if done, err := c.Output.json(streams.Out, v); done {
		return err
	}
	_, err := fmt.Fprintf(streams.Out, "doorstep %s (commit %s, %s, %s)\n", v.Version, v.Commit, v.Go, v.Platform)
	return err
}

// versionFlag is `doorstep --version`, for those who try that first.
type versionFlag bool

// BeforeReset prints the version and ends, whatever else the command line has or lacks.
func (versionFlag) BeforeReset(app *kong.Kong, streams IO) error {
	err := (&versionCmd{}).Run(streams)
	app.Exit(0)
	return err
}
