// Package demo shows what Doorstep does, against a Doorstep that runs: webhooks registered over
// REST for the event types of vPlan, its three kinds of event published over gRPC, each arriving
// signed, and one receiver that fails until the third retry.
//
// It is a check as well: Run errs unless every delivery arrived, verified, in time, and byte for
// byte as it was published.
package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/pkg/signature"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/client"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/receiver"
	"github.com/doorstep-dev/doorstep/services/doorstep/internal/stream"
)

// Tiers are the retry delays that a demo's Doorstep should have, so that nobody waits for an hour.
const Tiers = "2s,4s,8s"

// The receiver that fails, and for how long the whole may take: its retries wait 14 s.
const (
	unreliable     = "Unreliable receiver"
	unreliablePath = "/unreliable"
	failures       = 3
	patience       = 60 * time.Second
)

// effect is waited for between registering and publishing: a new webhook takes effect within a second.
const effect = 1500 * time.Millisecond

// Config says which Doorstep to show.
type Config struct {
	URL  string // of REST
	GRPC string // host:port
	Key  string // with every scope
	Out  io.Writer
}

// arrival is a request at one of the receivers.
type arrival struct {
	hook string
	receiver.Request
}

// show is one run.
type show struct {
	cfg      Config
	api      *client.Client
	mux      *http.ServeMux
	server   *process.Server
	arrivals chan arrival
	kinds    []kind
	data     map[string][]byte // by event type, as published
}

// Run shows everything and returns once all has arrived; the receivers stay until ctx ends, which
// ends the returned wait.
func Run(ctx context.Context, cfg Config) (wait func() error, err error) {
	api, err := client.New(client.Config{URL: cfg.URL, Key: cfg.Key})
	if err != nil {
		return nil, err
	}
	s := &show{cfg: cfg, api: api, mux: http.NewServeMux(), arrivals: make(chan arrival, 64), data: map[string][]byte{}}
	if s.kinds, err = kinds(); err != nil {
		return nil, err
	}
	if s.server, err = process.NewServer("127.0.0.1:0", "demo", s.mux); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.server.Run(ctx) }()
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.register(within); err != nil {
		return nil, err
	}
	select {
	case <-time.After(effect):
	case <-within.Done():
		return nil, within.Err()
	}
	if err := s.publish(within); err != nil {
		return nil, err
	}
	if err := s.watch(within); err != nil {
		return nil, err
	}
	s.next()
	go s.tellLater(ctx)
	return func() error { return <-ended }, nil
}

func (s *show) say(format string, args ...any) { fmt.Fprintf(s.cfg.Out, format+"\n", args...) }

// register makes a webhook for each kind of event, and one that fails.
func (s *show) register(ctx context.Context) error {
	s.say("Webhooks, registered over REST (each takes effect within a second)")
	for _, k := range s.kinds {
		if err := s.webhook(ctx, k.name, k.path, k.types, 0); err != nil {
			return err
		}
	}
	return s.webhook(ctx, unreliable, unreliablePath, []string{"card.updated"}, failures)
}

// webhook registers one and puts a receiver that knows its secret behind its URL.
func (s *show) webhook(ctx context.Context, name, path string, types []string, failFirst int) error {
	target := "http://" + s.server.Addr() + path
	var made struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	body := map[string]any{"name": name, "url": target, "event_types": types}
	if _, err := s.api.Do(ctx, http.MethodPost, "webhooks", nil, body, &made); err != nil {
		return fmt.Errorf("register %q: %w", name, err)
	}
	secret, err := signature.ParseSecret(made.Secret)
	if err != nil {
		return fmt.Errorf("register %q: the answer's secret: %w", name, err)
	}
	r, err := receiver.New(receiver.Config{Secrets: []signature.Secret{secret}, FailFirst: failFirst, Told: func(q receiver.Request) {
		select {
		case s.arrivals <- arrival{name, q}:
		default: // nobody looks any more
		}
	}})
	if err != nil {
		return err
	}
	s.mux.Handle(path, r)
	note := fmt.Sprintf("%d event types", len(types))
	if failFirst > 0 {
		note = fmt.Sprintf("card.updated; answers 500 to the first %d attempts", failFirst)
	}
	s.say("  %-26s %s  (%s)", name, target, note)
	return nil
}

// publish sends one event of each kind over gRPC.
func (s *show) publish(ctx context.Context) error {
	client, err := stream.Dial(stream.Config{Address: s.cfg.GRPC}, nil, s.cfg.Key, "")
	if err != nil {
		return err
	}
	defer client.Close()
	s.say("\nEvents, published over gRPC")
	for _, k := range s.kinds {
		e := exampleEvent(k.example)
		s.data[e.GetType()] = e.GetData()
		id, err := client.Publish(ctx, e)
		if err != nil {
			return fmt.Errorf("publish %s: %w", e.GetType(), stream.Plain(err))
		}
		s.say("  %-26s event %s, %d bytes", e.GetType(), id, len(e.GetData()))
	}
	return nil
}

// expected is how many requests each receiver gets.
func (s *show) expected() map[string]int {
	want := map[string]int{unreliable: failures + 1}
	for _, k := range s.kinds {
		want[k.name] = 1
	}
	return want
}

// watch tells of every delivery as it arrives, until all have.
func (s *show) watch(ctx context.Context) error {
	s.say("\nDeliveries, as they arrive (a demo's retries come after %s; the defaults are 1, 5 and 60 minutes)", Tiers)
	left := s.expected()
	var last time.Time // the unreliable receiver's latest attempt
	for len(left) > 0 {
		select {
		case a := <-s.arrivals:
			if err := s.check(a); err != nil {
				return err
			}
			s.say("  %s", line(a, last))
			if a.hook == unreliable {
				last = a.At
			}
			if left[a.hook]--; left[a.hook] == 0 {
				delete(left, a.hook)
			}
		case <-ctx.Done():
			return fmt.Errorf("not everything arrived within %s: still to come %v", patience, left)
		}
	}
	return nil
}

// check errs if a delivery is not what was published, signed.
func (s *show) check(a arrival) error {
	switch {
	case a.Wrong != nil:
		return fmt.Errorf("%s, attempt %d: %s", a.hook, a.Attempt, a.Verdict())
	case !a.SameBody:
		return fmt.Errorf("%s, attempt %d: the body differs from the first attempt's", a.hook, a.Attempt)
	case !s.published(a.Body):
		return fmt.Errorf("%s, attempt %d: the body is not the data that was published", a.hook, a.Attempt)
	}
	return nil
}

func (s *show) published(body []byte) bool {
	for _, data := range s.data {
		if bytes.Equal(data, body) {
			return true
		}
	}
	return false
}

// line tells of one delivery; last is when its former attempt came, if there was one.
func line(a arrival, last time.Time) string {
	text := fmt.Sprintf("%s  %-26s %-24s attempt %d  %s  answered %d", a.At.Format("15:04:05.000"),
		a.hook, a.EventType, a.Attempt, a.Verdict(), a.Status)
	if a.Attempt > 1 {
		text += fmt.Sprintf("  %.1f s after the last, body byte-identical", a.At.Sub(last).Seconds())
	}
	return text
}

// tellLater goes on telling of what the user publishes.
func (s *show) tellLater(ctx context.Context) {
	for {
		select {
		case a := <-s.arrivals:
			s.say("  %s", line(a, a.At))
		case <-ctx.Done():
			return
		}
	}
}

// next says what to try.
func (s *show) next() {
	s.say(`
Every delivery arrived with its signature verified. Doorstep stays up; Ctrl-C stops it. In another terminal:

  export DOORSTEP_URL=%[1]s DOORSTEP_GRPC=%[2]s DOORSTEP_KEY=%[3]s
  bin/doorstep webhooks list
  bin/doorstep deliveries list
  bin/doorstep publish --type comment.created --data '{"text":"hello"}'
  curl -s %[1]s/api/v1/webhooks -H "Authorization: Bearer $DOORSTEP_KEY"
  curl -s %[1]s/api/v1/events -H "Authorization: Bearer $DOORSTEP_KEY" -H 'Content-Type: application/json' \
       -d '{"type":"card.created","data":{"name":"from curl"}}'
  curl -s %[1]s/metrics | grep ^doorstep_

A receiver of your own, with the secret that the first command prints:

  bin/doorstep webhooks create --to http://127.0.0.1:9999/hook --event-type 'card.*'
  bin/doorstep listen --addr 127.0.0.1:9999 --secret whsec_...`, s.cfg.URL, s.cfg.GRPC, s.cfg.Key)
}
