package cli

import (
	"io"
	"log/slog"

	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/redisstate"
	"github.com/doorstep-dev/doorstep/pkg/trace"
)

// logging is what every long-running command has.
type logging struct {
	Level string `name:"log-level" env:"DOORSTEP_LOG_LEVEL" default:"info" help:"Least level of the log lines on stderr: debug, info, warn or error."`
}

// logger writes to w, for this program and for the libraries in it.
func (l logging) logger(w io.Writer) (*slog.Logger, error) {
	log, err := obs.Logger(w, l.Level)
	if err != nil {
		return nil, usageError{err}
	}
	obs.Libraries(log)
	redisstate.LogTo(log)
	trace.LogTo(log)
	return log, nil
}
