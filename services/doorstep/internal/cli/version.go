package cli

import (
	"fmt"
	"runtime"

	"github.com/doorstep-dev/doorstep/pkg/obs"
)

type versionCmd struct {
	Output output `embed:""`
}

// Run prints the version of the program and of the Go that built it.
func (c *versionCmd) Run(streams IO) error {
	v := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
	}{obs.Version(), runtime.Version()}
	if done, err := c.Output.json(streams.Out, v); done {
		return err
	}
	_, err := fmt.Fprintf(streams.Out, "doorstep %s (%s)\n", v.Version, v.Go)
	return err
}
