package sqlstoretest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

func request(key string) sqlstore.Once {
	return sqlstore.Once{Tenant: "acme", APIKeyID: "k", Route: "create-webhook", Key: key, Fingerprint: [32]byte{1}}
}

// claim claims a request for a minute, at a time of the test.
func claim(t *testing.T, s *sqlstore.Store, o sqlstore.Once, holder string, at time.Duration) sqlstore.Claim {
	t.Helper()
	from := now.Add(at)
	c, err := s.Claim(t.Context(), o, holder, from, from.Add(time.Minute), from.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// completing is By with a claim that the change completes.
func completing(c sqlstore.Claim, answer string) sqlstore.Author {
	by := By()
	by.Once = &sqlstore.Completion{Claim: c, Answer: answer}
	return by
}

// onceClaims holds who gets a request when.
func onceClaims(t *testing.T, s *sqlstore.Store) {
	ctx := t.Context()
	first := claim(t, s, request("a"), "one", 0)
	if first.State != sqlstore.ClaimMine || first.Answer != "" {
		t.Fatalf("the first: %+v", first)
	}
	other := request("a")
	other.Fingerprint[0] = 2
	elsewhere := request("a")
	elsewhere.Tenant = "other"
	for name, tt := range map[string]struct {
		o    sqlstore.Once
		at   time.Duration
		want sqlstore.ClaimState
	}{
		"the same at once": {request("a"), time.Second, sqlstore.ClaimRunning},
		"another body":     {other, time.Second, sqlstore.ClaimOther},
		"another key":      {request("b"), time.Second, sqlstore.ClaimMine},
		"another tenant":   {elsewhere, time.Second, sqlstore.ClaimMine},
		"another body, a day on, before it expired": {other, 23 * time.Hour, sqlstore.ClaimOther},
	} {
		if c := claim(t, s, tt.o, name, tt.at); c.State != tt.want {
			t.Errorf("%s: %d, want %d", name, c.State, tt.want)
		}
	}
	if err := s.GiveUp(ctx, first); err != nil {
		t.Fatal(err)
	}
	second := claim(t, s, other, "two", 2*time.Second)
	if second.State != sqlstore.ClaimMine {
		t.Errorf("after it was given up: %+v", second)
	}
	if err := s.Complete(ctx, sqlstore.Completion{Claim: second, Answer: "{}"}); err != nil {
		t.Fatal(err)
	}
	if err := s.GiveUp(ctx, second); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, s, other, "three", time.Hour); c.State != sqlstore.ClaimDone || c.Answer != "{}" {
		t.Errorf("what is done: %+v", c)
	}
	if c := claim(t, s, request("a"), "four", 25*time.Hour); c.State != sqlstore.ClaimMine {
		t.Errorf("a day later: %+v", c)
	}
	if err := s.DeleteExpiredOnce(ctx, now.Add(90*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, s, request("a"), "five", 0); c.State != sqlstore.ClaimMine {
		t.Errorf("after all expired: %+v", c)
	}
}

// onceWithTheChange holds that a request is done if its change is made, and that who was taken over changes nothing.
func onceWithTheChange(t *testing.T, s *sqlstore.Store) {
	ctx := t.Context()
	slow := claim(t, s, request("a"), "slow", 0)
	w := Webhook("acme", now)
	if _, err := s.CreateWebhook(ctx, sqlstore.Author{Once: &sqlstore.Completion{Claim: slow}}, w); err == nil {
		t.Error("nobody made a webhook")
	}
	quick := claim(t, s, request("a"), "quick", 2*time.Minute)
	if quick.State != sqlstore.ClaimMine {
		t.Fatalf("after its time: %+v", quick)
	}
	if _, err := s.CreateWebhook(ctx, completing(slow, "slow"), w); !errors.Is(err, sqlstore.ErrTakenOver) {
		t.Errorf("who was taken over: %v", err)
	}
	if _, err := s.CreateWebhook(ctx, completing(quick, "quick"), Webhook("acme", now)); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, s, request("a"), "third", time.Hour); c.State != sqlstore.ClaimDone || c.Answer != "quick" {
		t.Errorf("afterwards: %+v", c)
	}
	if all, _, err := s.Webhooks(ctx, "acme", asked(sqlstore.WebhookList(), 9)); err != nil || len(all) != 1 {
		t.Errorf("%d webhooks, %v", len(all), err)
	}
}

// oncePromised holds that a promise outlives who made it.
func oncePromised(t *testing.T, s *sqlstore.Store) {
	ctx, about := t.Context(), sqlstore.Subject{Kind: sqlstore.KindDelivery, ID: "d", Tenant: "acme"}
	c := claim(t, s, request("a"), "one", 0)
	if _, err := s.Note(ctx, completing(c, "run 7"), about, nil); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, s, request("a"), "two", time.Second); c.State != sqlstore.ClaimRunning || c.Answer != "" {
		t.Errorf("while it is held: %+v", c)
	}
	if err := s.GiveUp(ctx, c); err != nil {
		t.Fatal(err)
	}
	next := claim(t, s, request("a"), "three", 2*time.Second)
	if next.State != sqlstore.ClaimMine || next.Answer != "run 7" {
		t.Errorf("after it was given up: %+v", next)
	}
	id, err := s.Note(ctx, completing(next, "run 7"), about, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Noted(ctx, completing(next, "run 7"), id, nil); err != nil {
		t.Fatal(err)
	}
	if c := claim(t, s, request("a"), "four", time.Hour); c.State != sqlstore.ClaimDone || c.Answer != "run 7" {
		t.Errorf("when it was done: %+v", c)
	}
}

// onceOfMany holds that of many that ask at once one makes it.
func onceOfMany(t *testing.T, s *sqlstore.Store) {
	ctx := t.Context()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		made int
	)
	for i := range 12 {
		all.Go(func() {
			// They take one another over, as if each had died.
			c, err := s.Claim(ctx, request("a"), fmt.Sprint(i), now, now, now.Add(time.Hour))
			if err != nil {
				t.Error(err)
				return
			}
			if c.State != sqlstore.ClaimMine {
				return
			}
			if _, err = s.CreateWebhook(ctx, completing(c, "{}"), Webhook("acme", now)); err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			} else if !errors.Is(err, sqlstore.ErrTakenOver) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if all, _, err := s.Webhooks(ctx, "acme", asked(sqlstore.WebhookList(), 99)); err != nil || made != 1 || len(all) != 1 {
		t.Errorf("%d made it, %d are there, %v", made, len(all), err)
	}
}
