package producer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/doorstep-dev/doorstep/proto/producer"
)

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestPublish(t *testing.T) {
	for name, tt := range map[string]struct {
		faults       []fault // of the first tries; then none
		code         codes.Code
		unsure       bool
		tries, taken int
	}{
		"at once":              {nil, codes.OK, false, 1, 1},
		"away, then back":      {[]fault{die, takeDie, away}, codes.OK, false, 4, 3},
		"no room, then some":   {[]fault{full, full}, codes.OK, false, 3, 1},
		"hangs, then answers":  {[]fault{hang}, codes.OK, false, 2, 1},
		"refused":              {[]fault{invalid}, codes.InvalidArgument, false, 1, 0},
		"refused on the retry": {[]fault{die, invalid}, codes.InvalidArgument, true, 2, 0},
		"never any room":       {slices.Repeat([]fault{full}, 1000), codes.ResourceExhausted, false, 0, 0},
		"away for good":        {slices.Repeat([]fault{die}, 1000), codes.Unavailable, true, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{fault: func(n int) fault { return append(tt.faults, slices.Repeat([]fault{none}, n)...)[n-1] }}
				c, end := serve(t, s, producer.Options{})
				defer end()
				began := time.Now()
				id, err := c.Publish(t.Context(), &producer.Event{Type: "card.updated"})
				if status.Code(err) != tt.code || errors.Is(err, producer.ErrUnacknowledged) != tt.unsure || !uuid7.MatchString(id) {
					t.Errorf("id %q, %v", id, err)
				}
				if tt.tries > 0 && s.came != tt.tries || tt.tries == 0 && (s.came < 10 || s.came > 40) || len(s.taken) != tt.taken {
					t.Errorf("%d tries, %d taken", s.came, len(s.taken))
				}
				for _, got := range s.taken {
					if got != id {
						t.Errorf("sent as %q too", got)
					}
				}
				if took := time.Since(began); took > 30*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{fault: func(int) fault { return hang }}
		c, end := serve(t, s, producer.Options{})
		defer end()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		id, err := c.Publish(ctx, event("mine"))
		if id != "mine" || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, producer.ErrUnacknowledged) {
			t.Errorf("id %q, %v", id, err)
		}
	})
}

func TestPublishOnce(t *testing.T) {
	s := &server{fault: func(int) fault { return die }}
	c, end := serve(t, s, producer.Options{RetryFor: -1})
	defer end()
	if _, err := c.Publish(soon(t), event("")); status.Code(err) != codes.Unavailable || s.came != 1 {
		t.Errorf("%v after %d tries", err, s.came)
	}
}

// The event that is sent is the one that was given, but for the id; and the one that was given stays as it is.
func TestAnIDIsAssigned(t *testing.T) {
	s := &server{}
	c, end := serve(t, s, producer.Options{})
	defer end()
	e := &producer.Event{
		Tenant: "acme", Type: "a", OccurredAt: timestamppb.Now(), ExternalReference: "r", Attributes: map[string]string{"k": "v"}, Data: []byte("1"),
	}
	ids := map[string]bool{}
	for range 100 {
		id, err := c.Publish(soon(t), e)
		if err != nil || ids[id] || e.GetId() != "" {
			t.Fatalf("%v, id %q, the event's own %q", err, id, e.GetId())
		}
		ids[id] = true
	}
	if !slices.IsSorted(s.taken) {
		t.Log("ids of one millisecond are in any order")
	}
}

func TestAddresses(t *testing.T) {
	secure := &tls.Config{MinVersion: tls.VersionTLS13}
	for name, tt := range map[string]struct {
		addr string
		o    producer.Options
		ok   bool
	}{
		"no key":              {"127.0.0.1:1", producer.Options{}, false},
		"plain and encrypted": {"https://ingest:443", producer.Options{Key: "k", Plain: true}, false},
		"plain and TLS":       {"http://ingest:443", producer.Options{Key: "k", TLS: secure}, false},
		"no address":          {"a b", producer.Options{Key: "k"}, false},
		"loopback":            {"localhost:1", producer.Options{Key: "k"}, true},
		"TLS":                 {"ingest:443", producer.Options{Key: "k", TLS: secure}, true},
	} {
		c, err := producer.New(tt.addr, tt.o)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}
