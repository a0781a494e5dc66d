package fault

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

// The checker finds each planted fault, and nothing in a run without one.
func TestCheck(t *testing.T) {
	rules := Rules{
		Hooks: []Hook{{Types: []int{0}}, {Types: []int{0}, Fails: 1}}, Tiers: []time.Duration{time.Second},
		TypeOf: func(string) int { return 0 }, Slack: 10 * time.Millisecond,
	}
	body := sha256.Sum256([]byte("a"))
	good := func() *History {
		h := &History{}
		h.Ack(Ack{"event-1", body, at(0)})
		h.Post(Post{"d0", "event-1", 0, body, at(5), 204})
		h.Post(Post{"d1", "event-1", 1, body, at(5), 500})
		h.Post(Post{"d1", "event-1", 1, body, at(1010), 204})
		h.Records = []Record{{"event-1", 0, at(1), at(100)}, {"event-1", 1, at(1), at(100)}, {"event-1", 1, at(6), at(1100)}}
		return h
	}
	kill := Disturbance{What: "kill -9 sender-0", From: at(400), To: at(600), Repeats: true}
	for name, tt := range map[string]struct {
		change func(*History)
		want   string
		ok     bool
	}{
		"nothing":      {func(*History) {}, "[0 0 0 0 0 0]", true},
		"lost":         {func(h *History) { h.Posts = h.Posts[:2] }, "[1 0 0 0 0 0]", false},
		"refused":      {func(h *History) { h.Posts[0].Status = 500 }, "[1 0 0 0 0 0]", false},
		"another body": {func(h *History) { h.Posts[1].Body = sha256.Sum256([]byte("b")) }, "[0 1 0 0 0 0]", false},
		"from nowhere": {func(h *History) { h.Post(Post{"d", "other", 0, body, at(9), 204}) }, "[0 0 1 0 0 0]", false},
		"too early":    {func(h *History) { h.Posts[2].At = at(900) }, "[0 0 0 1 0 0]", false},
		"a repeat":     {func(h *History) { h.Post(Post{"d0", "event-1", 0, body, at(700), 204}) }, "[0 0 0 0 1 1]", false},
		"a repeat of what was committed before the kill": {func(h *History) {
			h.Disturb(kill)
			h.Post(Post{"d0", "event-1", 0, body, at(700), 204})
		}, "[0 0 0 0 1 1]", false},
		"a repeat of what was not": {func(h *History) {
			h.Disturb(kill)
			h.Records[0].Committed = at(710)
			h.Post(Post{"d0", "event-1", 0, body, at(700), 204})
		}, "[0 0 0 0 1 0]", true},
		"a repeat of what never was": {func(h *History) {
			h.Disturb(kill)
			h.Records[0].Committed = time.Time{}
			h.Post(Post{"d0", "event-1", 0, body, at(700), 204})
		}, "[0 0 0 0 1 0]", true},
		"a repeat of what was not, before the kill": {func(h *History) {
			h.Disturb(kill)
			h.Records[0].Committed = at(710)
			h.Post(Post{"d0", "event-1", 0, body, at(300), 204})
		}, "[0 0 0 0 1 1]", false},
		"an early retry of what was not": {func(h *History) {
			h.Disturb(kill)
			h.Records[1].Committed = at(710)
			h.Posts[2].At = at(700)
		}, "[0 0 0 0 0 0]", true},
		"published twice": {func(h *History) {
			h.Ack(Ack{"event-1", body, at(600)})
		}, "[0 0 0 0 0 0]", true},
		"published twice and delivered twice": {func(h *History) {
			h.Ack(Ack{"event-1", body, at(600)})
			h.Post(Post{"d0", "event-1", 0, body, at(700), 204})
		}, "[0 0 0 0 1 1]", false},
		"published twice and delivered twice, Redis away": {func(h *History) {
			h.Disturb(Disturbance{What: "cut redis", From: at(400), To: at(800), Forgets: true})
			h.Ack(Ack{"event-1", body, at(600)})
			h.Post(Post{"d0", "event-1", 0, body, at(700), 204})
		}, "[0 0 0 0 1 0]", true},
	} {
		t.Run(name, func(t *testing.T) {
			h := good()
			tt.change(h)
			r := Check(h, rules)
			got := fmt.Sprint([]int{len(r.Lost), len(r.WrongBodies), len(r.Unknown), len(r.Early), r.Repeats, len(r.Unexplained)})
			if got != tt.want || r.OK() != tt.ok {
				t.Errorf("%s, ok %v; want %s, %v: %s", got, r.OK(), tt.want, tt.ok, r)
			}
		})
	}
}

func TestASeedRepeatsItsPlan(t *testing.T) {
	replicas := replicas()
	a, b, c := plan(7, time.Minute, replicas, 3), plan(7, time.Minute, replicas, 3), plan(8, time.Minute, replicas, 3)
	if fmt.Sprint(a) != fmt.Sprint(b) || fmt.Sprint(a) == fmt.Sprint(c) {
		t.Errorf("plans of seeds 7, 7 and 8: %v %v %v", a, b, c)
	}
}
