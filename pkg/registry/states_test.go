package registry_test

import (
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/registry"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// state is a state of a streak as long as its version.
func state(id string, generation, version uint64) failure.State {
	return failure.State{WebhookID: id, Generation: generation, Version: version, FailStreak: int(version), FailureCount: 100 + version}
}

// states follows a topic of states; put writes one, sync returns once all that was put is applied.
func states(t *testing.T, opts ...registry.Option) (s *registry.States, topic topic, sync func()) {
	t.Helper()
	topic = newTopic(t, "states")
	s, err := registry.NewStates(topic.cfg, "test", slog.New(slog.DiscardHandler), opts...)
	if err != nil {
		t.Fatal(err)
	}
	mark := uint64(0)
	return s, topic, func() {
		t.Helper()
		mark++
		topic.put(wire.State(topic.name, state("mark", 0, mark)))
		eventually(t, "what was put is not applied", func() bool { return s.Get("mark", 0).Version == mark })
	}
}

func TestStatesTheNewerWinsWhateverTheOrder(t *testing.T) {
	s, topic, sync := states(t)
	ages := [][2]uint64{{1, 9}, {2, 1}, {2, 3}} // generation, version; ascending
	for name, order := range map[string][]int{"a": {0, 1, 2}, "b": {2, 1, 0}, "c": {1, 2, 0}, "d": {2, 0, 1}, "e": {2, 2, 1}} {
		for _, i := range order {
			topic.put(wire.State(topic.name, state(name, ages[i][0], ages[i][1])))
		}
	}
	run(t, s.Run, s.Ready())
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		if diff := cmp.Diff(state(id, 2, 3), s.Get(id, 2)); diff != "" {
			t.Errorf("before the start, %s: %s", id, diff)
		}
	}
	topic.put(wire.State(topic.name, state("a", 2, 2)))
	topic.put(wire.State(topic.name, state("b", 3, 1)))
	sync()
	if a, b := s.Get("a", 2), s.Get("b", 3); a.Version != 3 || b.Generation != 3 || b.Version != 1 {
		t.Errorf("while it runs: %+v, %+v", a, b)
	}
}

func TestStatesOfAWebhookThatIsGone(t *testing.T) {
	s, topic, sync := states(t)
	topic.put(wire.State(topic.name, state("a", 2, 3)))
	topic.put(wire.State(topic.name, state("b", 2, 3)))
	run(t, s.Run, s.Ready())
	topic.gone("a")
	topic.gone("never")
	sync()
	if got := s.Get("a", 0); got.Version != 0 || got.WebhookID != "" {
		t.Errorf("the state of a webhook that is gone: %+v", got)
	}
	if got := s.Get("b", 0); got.Version != 3 {
		t.Errorf("the state beside it: %+v", got)
	}
	// Whatever comes behind a tombstone is new.
	topic.put(wire.State(topic.name, state("a", 1, 1)))
	sync()
	if got := s.Get("a", 1); got.Version != 1 {
		t.Errorf("a state after the tombstone: %+v", got)
	}
}

func TestStatesReadAtAGeneration(t *testing.T) {
	s, topic, _ := states(t)
	disabled := state("a", 2, 500)
	disabled.Disabled, disabled.DisableReason = true, failure.DisabledByStreak
	topic.put(wire.State(topic.name, disabled))
	run(t, s.Run, s.Ready())
	for generation, want := range map[uint64]failure.State{
		1: disabled, // the reader is behind the owner
		2: disabled,
		3: {WebhookID: "a", Generation: 3, Version: 500, FailureCount: 600}, // reactivated: empty but for all time
	} {
		if diff := cmp.Diff(want, s.Get("a", generation)); diff != "" {
			t.Errorf("at generation %d: %s", generation, diff)
		}
	}
	if got := s.Get("never failed", 7); got.FailStreak != 0 || got.Disabled || got.Generation != 7 {
		t.Errorf("a webhook that never failed: %+v", got)
	}
}

func TestStatesUnreadableRecordsArePassedOver(t *testing.T) {
	var quarantined atomic.Int64
	s, topic, sync := states(t, registry.Quarantine(func(r *kgo.Record, err error) {
		if string(r.Key) == "a" && err != nil {
			quarantined.Add(1)
		}
	}))
	topic.put(wire.State(topic.name, state("a", 1, 1)))
	topic.put(&kgo.Record{Topic: topic.name, Key: []byte("a"), Value: []byte("nonsense")}, nil)
	run(t, s.Run, s.Ready())
	sync()
	if got := s.Get("a", 1); got.Version != 1 || quarantined.Load() != 1 {
		t.Errorf("%+v, %d quarantined", got, quarantined.Load())
	}
}
