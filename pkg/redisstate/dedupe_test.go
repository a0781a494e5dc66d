package redisstate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/redisstate"
)

func TestSeen(t *testing.T) {
	item := func(tenant, id, position string) redisstate.Item {
		return redisstate.Item{Tenant: tenant, EventID: id, Position: position}
	}
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		d := connect(t, cfg).Dedupe()
		for _, step := range []struct {
			name   string
			events []redisstate.Item
			want   []bool
		}{
			{"no events", nil, []bool{}},
			{"new", []redisstate.Item{item("acme", "e1", "t:0:7"), item("acme", "e2", "t:0:8")}, []bool{false, false}},
			{"replayed after a crash", []redisstate.Item{item("acme", "e1", "t:0:7"), item("acme", "e2", "t:0:8")}, []bool{false, false}},
			{"published twice", []redisstate.Item{item("acme", "e2", "t:0:9"), item("acme", "e1", "t:1:7")}, []bool{true, true}},
			{"still known by the first position", []redisstate.Item{item("acme", "e2", "t:0:8"), item("acme", "e2", "t:0:9")}, []bool{false, true}},
			{"another tenant's", []redisstate.Item{item("acme2", "e1", "t:0:10")}, []bool{false}},
			{"twice in one batch", []redisstate.Item{item("acme", "e3", "t:0:11"), item("acme", "e3", "t:0:12")}, []bool{false, true}},
		} {
			got, err := d.Seen(t.Context(), step.events)
			if err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("%s: %s", step.name, diff)
			}
		}
	})
}

func TestSeenInLargeBatches(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		d := connect(t, cfg).Dedupe()
		items := make([]redisstate.Item, 2000)
		for round := range 2 {
			for i := range items {
				items[i] = redisstate.Item{Tenant: "acme", EventID: fmt.Sprint(i), Position: fmt.Sprintf("t:%d:%d", round*(i%2), i)}
			}
			got, err := d.Seen(t.Context(), items)
			if err != nil {
				t.Fatal(err)
			}
			for i, duplicate := range got {
				if want := round == 1 && i%2 == 1; duplicate != want {
					t.Fatalf("round %d, event %d: duplicate %t", round, i, duplicate)
				}
			}
		}
	})
}

func TestSeenIsForgottenAfterADay(t *testing.T) {
	eachServer(t, func(t *testing.T, cfg redisstate.Config) {
		if _, err := connect(t, cfg).Dedupe().Seen(t.Context(), []redisstate.Item{{Tenant: "acme", EventID: "e", Position: "t:0:1"}}); err != nil {
			t.Fatal(err)
		}
		left, err := rawClient(t, cfg).TTL(t.Context(), cfg.Prefix+"seen:acme/e").Result()
		if err != nil || left > redisstate.SeenFor || left < redisstate.SeenFor-time.Hour {
			t.Fatalf("time to live %s, %v", left, err)
		}
	})
	server := miniredis.RunT(t)
	d := connect(t, config("redis://"+server.Addr())).Dedupe()
	for _, step := range []struct {
		wait     time.Duration
		position string
		want     bool
	}{{0, "t:0:1", false}, {redisstate.SeenFor - time.Second, "t:0:2", true}, {time.Second, "t:0:3", false}} {
		server.FastForward(step.wait)
		got, err := d.Seen(t.Context(), []redisstate.Item{{Tenant: "acme", EventID: "e", Position: step.position}})
		if err != nil || got[0] != step.want {
			t.Fatalf("%s: duplicate %t, %v; want %t", step.position, got[0], err, step.want)
		}
	}
}
