package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
	"github.com/doorstep-dev/doorstep/proto/producer"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/stream"
)

// maxEventLine bounds a line of a file of events: data of 256 KiB with room for white space.
const maxEventLine = 1 << 20

type publishCmd struct {
	Type       string            `placeholder:"TYPE" help:"Event type, e.g. card.updated."`
	Tenant     string            `help:"Tenant of the event; empty: the key's."`
	ID         string            `name:"id" help:"Event id; the same one again within 24 hours is delivered once. Empty: one is assigned."`
	Ref        string            `placeholder:"REFERENCE" help:"External reference; events of one reference keep their order in the log."`
	Attributes map[string]string `name:"attr" mapsep:"none" placeholder:"KEY=VALUE" help:"An attribute for filters, again for more."`
	OccurredAt time.Time         `placeholder:"TIME" help:"When it happened, RFC 3339. Empty: now."`
	Data       string            `placeholder:"JSON" help:"The event's data, JSON or @FILE, kept byte for byte."`
	File       string            `placeholder:"FILE" help:"Publish a file instead ('-': stdin): each line a JSON object with id, tenant, type, occurred_at, external_reference, attributes, data."`
	InFlight   int               `default:"512" help:"Events that may wait for their acknowledgement at once."`

	GRPC   stream.Config `embed:"" group:"connection"`
	API    client.Config `embed:"" group:"connection"`
	Output output        `embed:""`
}

// Validate tells wrong combinations of flags.
func (c *publishCmd) Validate() error {
	switch {
	case c.File == "" && c.Type == "":
		return errors.New("--type or --file is required")
	case c.File != "" && (c.Type != "" || c.ID != "" || c.Ref != "" || c.Data != "" || c.Tenant != "" || len(c.Attributes) > 0 || !c.OccurredAt.IsZero()):
		return errors.New("--file holds whole events; it goes with no flag of a single one")
	case c.InFlight < 1 || c.InFlight > 65536:
		return errors.New("--in-flight must be 1 to 65536")
	}
	return nil
}

// Run publishes and tells what became of it.
func (c *publishCmd) Run(streams IO) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	secure, err := c.API.TLS.Config()
	if err != nil {
		return usageError{err}
	}
	client, err := stream.Dial(c.GRPC, secure, c.API.Key, c.API.Tenant)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	if c.File == "" {
		return c.publishOne(ctx, client, streams)
	}
	in, size, err := c.open(streams.In)
	if err != nil {
		return err
	}
	defer in.Close()
	bar := newProgress(streams.Err, size)

	tally := &tally{err: streams.Err, bar: bar}
	source := &eventLines{in: bufio.NewReaderSize(bar.reader(in), 1<<16), told: tally.told}
	start := time.Now()
	err = stream.Publish(ctx, client, c.InFlight, source.items(), tally.told)
	bar.clear()
	if ctx.Err() != nil {
		err = errStopped
	}
	return errors.Join(tally.print(c.Output, streams.Out, time.Since(start)), source.err, err)
}

func (c *publishCmd) publishOne(ctx context.Context, client *producer.Client, streams IO) error {
	e := &doorstepv1.Event{Id: c.ID, Tenant: c.Tenant, Type: c.Type, ExternalReference: c.Ref, Attributes: c.Attributes, Data: []byte(c.Data)}
	if !c.OccurredAt.IsZero() {
		e.OccurredAt = timestamppb.New(c.OccurredAt)
	}
	if name, ok := strings.CutPrefix(c.Data, "@"); ok {
		data, err := readFile(name, streams.In)
		if err != nil {
			return err
		}
		e.Data = bytes.TrimSpace(data)
	}
	if err := client.Ping(ctx); err != nil {
		return stream.Plain(err)
	}
	id, err := client.Publish(ctx, e)
	if err != nil {
		return stream.Plain(err)
	}
	if done, err := c.Output.json(streams.Out, map[string]string{"event_id": id}); done {
		return err
	}
	_, err = fmt.Fprintln(streams.Out, "published", id)
	return err
}

// open opens the file of events and tells its size in bytes, -1 if unknown.
func (c *publishCmd) open(in io.Reader) (io.ReadCloser, int64, error) {
	if c.File == "-" {
		return io.NopCloser(in), -1, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, 0, err // names the file
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, -1, nil //nolint:nilerr // its size is only for the progress bar
	}
	return f, info.Size(), nil
}

// eventLine is an event as the REST API takes it. Data keeps its bytes.
type eventLine struct {
	ID                string            `json:"id"`
	Tenant            string            `json:"tenant"`
	Type              string            `json:"type"`
	OccurredAt        *time.Time        `json:"occurred_at"`
	ExternalReference string            `json:"external_reference"`
	Attributes        map[string]string `json:"attributes"`
	Data              json.RawMessage   `json:"data"`
}

// parseEvent reads one line.
func parseEvent(line []byte) (*doorstepv1.Event, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var l eventLine
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("not an event: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not an event: more than one JSON object on the line")
	}
	e := &doorstepv1.Event{
		Id: l.ID, Tenant: l.Tenant, Type: l.Type, ExternalReference: l.ExternalReference,
		Attributes: l.Attributes, Data: l.Data,
	}
	if l.OccurredAt != nil {
		e.OccurredAt = timestamppb.New(*l.OccurredAt)
	}
	return e, nil
}

// eventLines reads events off lines. It tells of the lines that hold none.
type eventLines struct {
	in   *bufio.Reader
	told func(stream.Result)
	err  error // the input could not be read on
}

func (s *eventLines) items() iter.Seq[stream.Item] {
	return func(yield func(stream.Item) bool) {
		for n := 1; ; n++ {
			line, err := readLine(s.in, maxEventLine)
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.Is(err, errLongLine):
				s.told(stream.Result{Number: n, Err: fmt.Errorf("longer than %d bytes", maxEventLine)})
				continue
			case err != nil:
				s.err = fmt.Errorf("read line %d: %w", n, err)
				return
			case len(bytes.TrimSpace(line)) == 0:
				continue
			}
			e, err := parseEvent(line)
			if err != nil {
				s.told(stream.Result{Number: n, Err: err})
				continue
			}
			if !yield(stream.Item{Number: n, Event: e}) {
				return
			}
		}
	}
}

// tally counts what became of the events and names the lines that were refused.
type tally struct {
	err io.Writer
	bar *progress

	mu                             sync.Mutex
	published, refused, unanswered int
}

func (t *tally) told(r stream.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case r.Err == nil:
		t.published++
		t.bar.published(t.published)
		return
	case errors.Is(r.Err, stream.ErrUnanswered):
		t.unanswered++
	default:
		t.refused++
	}
	t.bar.clear()
	fmt.Fprintf(t.err, "line %d: %s\n", r.Number, printable(r.Err.Error()))
}

// print tells the sums; it errs if not every line was published.
func (t *tally) print(o output, w io.Writer, took time.Duration) error {
	done, err := o.json(w, map[string]any{"published": t.published, "refused": t.refused, "not_acknowledged": t.unanswered, "seconds": took.Seconds()})
	if !done {
		_, err = fmt.Fprintf(w, "published %d events in %s\n", t.published, took.Round(time.Millisecond))
	}
	switch {
	case err != nil:
		return err
	case t.refused > 0 && t.unanswered > 0:
		return fmt.Errorf("%d lines were refused, %d were not acknowledged (publish those again with the same ids)", t.refused, t.unanswered)
	case t.refused > 0:
		return fmt.Errorf("%d lines were refused", t.refused)
	case t.unanswered > 0:
		return fmt.Errorf("%d lines were not acknowledged: publish them again with the same ids", t.unanswered)
	}
	return nil
}
