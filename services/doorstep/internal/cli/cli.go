// Package cli is the command line: one file for each command, kong for flags, environment and
// YAML file.
//
// Every setting of a command is a flag, an environment variable and a line of the --config file,
// in this order of precedence. What goes wrong is told in one line on stderr; the exit code is 2
// when the command line or a setting is wrong, 1 when the work failed, 130 when a second signal
// stopped a service at once.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/process"
)

// exitUsage is the exit code for a wrong command line or setting; process.ExitCode has the others.
const exitUsage = 2

// IO is where a command reads and writes.
type IO struct {
	In  io.Reader
	Out io.Writer // answers
	Err io.Writer // progress, logs and errors
}

// commands is the grammar. Services come first, as operators read it.
type commands struct {
	ShowVersion versionFlag `name:"version" hidden:""`

	Config kong.ConfigFlag `name:"config" env:"DOORSTEP_CONFIG" placeholder:"FILE" help:"YAML file of settings, named as the flags; a section named as the command holds for it alone."`

	Up       upCmd       `cmd:"" group:"services" help:"Run everything in one process. Stores without an address are embedded."`
	Ingest   ingestCmd   `cmd:"" group:"services" help:"Take events in over gRPC and write them to the log."`
	Matcher  matcherCmd  `cmd:"" group:"services" help:"Work out which webhooks want each event."`
	Sender   senderCmd   `cmd:"" group:"services" help:"POST deliveries to their receivers, and again until they are accepted."`
	Recorder recorderCmd `cmd:"" group:"services" help:"Keep the history of events, deliveries and attempts in SQL."`
	Notifier notifierCmd `cmd:"" group:"services" help:"Mail notices to the administrators of their tenant."`
	Console  consoleCmd  `cmd:"" group:"services" help:"Serve the REST API."`

	Topics     topicsCmd     `cmd:"" group:"setup" help:"Create or check the topics of the log."`
	Migrate    migrateCmd    `cmd:"" group:"setup" help:"Bring the database to this version's schema."`
	Health     healthCmd     `cmd:"" group:"setup" help:"Ask services whether they are ready, by default the one on this machine; exit code 1 if not."`
	SealingKey sealingKeyCmd `cmd:"" group:"setup" help:"Print a new key for DOORSTEP_SEALING_KEYS, which seals webhooks' secrets where they are stored."`

	Publish        publishCmd        `cmd:"" group:"client" help:"Publish one event, or a file of them."`
	Webhooks       webhooksCmd       `cmd:"" group:"client" help:"List, show, create, change and delete webhooks."`
	Deliveries     deliveriesCmd     `cmd:"" group:"client" help:"List, show and resend deliveries."`
	Recover        recoverCmd        `cmd:"" group:"client" help:"Send again what a webhook did not accept."`
	Jobs           jobsCmd           `cmd:"" group:"client" help:"List, show, pause, resume and cancel releases, discards and recovers."`
	Explain        explainCmd        `cmd:"" group:"client" help:"Say why an event went, or did not go, to a webhook."`
	Tail           tailCmd           `cmd:"" group:"client" help:"Show attempts as they are made."`
	Keys           keysCmd           `cmd:"" group:"client" help:"List, create and delete API keys."`
	Profile        profileCmd        `cmd:"" group:"client" help:"List, show, apply and export profiles: a product's event types, policy and payload."`
	EventTypes     eventTypesCmd     `cmd:"" group:"client" help:"List, show, apply, delete and export event types."`
	Administrators administratorsCmd `cmd:"" group:"client" help:"List, show, add, change and remove those who are mailed."`
	Mails          mailsCmd          `cmd:"" group:"client" help:"Show the mails to administrators."`
	AuditLog       auditLogCmd       `cmd:"" group:"client" help:"Show who changed what."`
	Audit          auditCmd          `cmd:"" group:"client" help:"Compare the log with the history and name every difference."`

	Listen    listenCmd    `cmd:"" group:"tools" help:"Receive webhooks, verify their signatures and print them."`
	Verify    verifyCmd    `cmd:"" group:"tools" help:"Verify the signature of a saved request."`
	Bench     benchCmd     `cmd:"" group:"tools" help:"Measure this Doorstep on this machine, against ceilings found in the same run."`
	BenchPart benchPartCmd `cmd:"" hidden:""`
	Version   versionCmd   `cmd:"" group:"tools" help:"Print the version of this program."`
}

// errStopped says that a signal ended a client command before its end.
var errStopped = errors.New("stopped before the end")

// usageError is a wrong command line or setting.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exited carries the exit code that kong asked for, after --help.
type exited int

// Main runs the command line args and returns the exit code.
func Main(args []string, streams IO) (code int) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(exited)
			if !ok {
				panic(r)
			}
			code = int(e)
		}
	}()
	dropEmptyVariables()
	parser, err := newParser(streams)
	if err != nil {
		return fail(streams.Err, err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fail(streams.Err, usageError{withHint(err)})
	}
	return fail(streams.Err, parsed.Run())
}

// dropEmptyVariables makes an empty DOORSTEP_* count as not set, as compose files and charts leave
// those that they have no value for.
func dropEmptyVariables() {
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); value == "" && strings.HasPrefix(name, "DOORSTEP_") {
			_ = os.Unsetenv(name) // errs on names that cannot be
		}
	}
}

func newParser(streams IO) (*kong.Kong, error) {
	return kong.New(&commands{},
		kong.Name("doorstep"),
		kong.Description("Doorstep delivers webhooks: events in over gRPC, through Kafka, out as signed POSTs."),
		kong.Writers(streams.Out, streams.Err),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.Configuration(loadYAML),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: helpWidth}),
		kong.ValueFormatter(withDefault),
		kong.ExplicitGroups([]kong.Group{
			{Key: "services", Title: "Services"},
			{Key: "setup", Title: "Setting up"},
			{Key: "client", Title: "Talking to a running Doorstep (DOORSTEP_URL, DOORSTEP_GRPC, DOORSTEP_KEY)"},
			{Key: "tools", Title: "Tools"},
			{Key: "connection", Title: "Connection:"},
		}),
		kong.PostBuild(localDefaults),
		kong.Bind(streams),
		kong.BindTo(context.Background(), (*context.Context)(nil)),
	)
}

// withDefault is a flag's help, with the default where a placeholder stands in its stead.
func withDefault(v *kong.Value) string {
	if v.Flag == nil || v.Flag.PlaceHolder == "" || v.Default == "" {
		return kong.DefaultHelpValueFormatter(v)
	}
	shown := *v
	shown.Help += " Default: " + v.Default + "."
	return kong.DefaultHelpValueFormatter(&shown)
}

// helpWidth keeps --help the same on every terminal.
const helpWidth = 110

// loadYAML reads a file of settings. A flag is looked for in the section of its command, then at
// the top level, so that services can share a file.
func loadYAML(r io.Reader) (kong.Resolver, error) {
	file, err := kongyaml.Loader(r)
	if err != nil {
		return nil, err
	}
	return kong.ResolverFunc(func(c *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
		if flag.Hidden { // --version is no setting, and a section "version" is that of its command
			return nil, nil
		}
		value, err := file.Resolve(c, parent, flag)
		if value == nil && err == nil {
			value, err = file.Resolve(c, c.Path[0], flag)
		}
		if err == nil && !fits(value, flag) {
			// Kong would repeat the value, which may be a secret.
			err = errors.New("the file of settings has a list or a section there; it must be one value")
		}
		return value, err
	}), nil
}

// fits reports whether a value of a file can be a flag's.
func fits(value any, flag *kong.Flag) bool {
	switch value.(type) {
	case []any, map[string]any, map[any]any:
		return flag.IsSlice() || flag.IsMap()
	}
	return true
}

// withHint adds where to read on to a parse error.
func withHint(err error) error {
	var parse *kong.ParseError
	if !errors.As(err, &parse) || parse.Context == nil {
		return err
	}
	return fmt.Errorf("%w (see `%s --help`)", err, strings.TrimSpace("doorstep "+parse.Context.Command()))
}

// fail prints what went wrong, on one line but for the faults of topics, and returns the exit code.
func fail(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	text := err.Error()
	if faults := (kafka.TopicError)(nil); !errors.As(err, &faults) { // whose faults have a line each
		text = strings.ReplaceAll(text, "\n", "; ")
	}
	fmt.Fprintln(w, "doorstep: "+text)
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errStopped):
		return process.ExitCode(process.ErrForced)
	}
	return process.ExitCode(err)
}

// terminal reports whether w is one, for progress bars.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
