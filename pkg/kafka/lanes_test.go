package kafka

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// TestLanesTogether adds and takes away members under load. Partition p of all lanes is always one
// member's, no more moves than must, and nobody begins before the last owner has ended.
func TestLanesTogether(t *testing.T) {
	r := newLanesRig(t)
	end := r.load()
	defer end()
	var before [lanePartitions]*laneMember
	table := []string{fmt.Sprintf("%-22s %-9s %-24s %5s %6s", "", "members", "partitions of each", "moves", "took")}
	row := func(what string, members, wantMoves int, change func()) {
		began := time.Now()
		change()
		now := r.settled(members, 30*time.Second)
		took := time.Since(began)
		moves := 0
		for p := range now {
			if before[p] != nil && before[p] != now[p] {
				moves++
			}
		}
		table = append(table, fmt.Sprintf("%-22s %-9d %-24s %5d %6s", what, members, shares(now), moves, took.Round(10*time.Millisecond)))
		if moves != wantMoves {
			t.Errorf("%s: %d partitions moved, want %d", what, moves, wantMoves)
		}
		before = now
	}
	members := map[string]*laneMember{}
	join := func(name string) func() { return func() { members[name] = r.start(name, "") } }
	leave := func(name string) func() { return func() { r.leave(members[name]) } }
	row("one", 1, 0, join("m1"))
	row("m2 joins", 2, 6, join("m2"))
	row("m3 joins", 3, 4, join("m3"))
	row("m4 joins", 4, 3, join("m4"))
	row("m5 joins", 5, 2, join("m5"))
	row("m2 leaves", 4, count(before, members["m2"]), leave("m2"))
	row("m1 leaves", 3, count(before, members["m1"]), leave("m1"))
	row("m3 and m4 leave", 1, count(before, members["m3"])+count(before, members["m4"]), func() { leave("m3")(); leave("m4")() })
	t.Logf("12 partitions of 3 lanes:\n%s", strings.Join(table, "\n"))
	end()
	r.verify(0)
}

// count is how many partitions a member has.
func count(owner [lanePartitions]*laneMember, m *laneMember) (n int) {
	for _, o := range owner {
		if o == m {
			n++
		}
	}
	return n
}

func shares(owner [lanePartitions]*laneMember) string {
	counts := map[string]int{}
	for _, m := range owner {
		counts[m.name]++
	}
	var out []string
	for n := range 9 {
		name := fmt.Sprintf("m%d", n)
		if counts[name] > 0 {
			out = append(out, fmt.Sprintf("%s:%d", name, counts[name]))
		}
	}
	return strings.Join(out, " ")
}

// TestSeatsAreKept kills a static member: back within the session timeout it has its partitions again,
// and nobody else's work is touched; gone for good, the others take over.
func TestSeatsAreKept(t *testing.T) {
	t.Parallel()
	r := newLanesRig(t)
	end := r.load()
	defer end()
	var members []*laneMember
	for i := 1; i <= 3; i++ {
		members = append(members, r.start(fmt.Sprintf("m%d", i), fmt.Sprintf("sender-%d", i)))
		r.settled(i, 30*time.Second)
	}
	before := r.settled(3, 30*time.Second)
	taken := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return members[0].taken + members[2].taken
	}
	untouched := taken()

	r.kill(members[1])
	wait(t.Context(), 2*time.Second) // as long as a process takes to start
	began := time.Now()
	again := r.start("m2", "sender-2")
	now := r.settled(3, SessionTimeout)
	t.Logf("killed, back after 2 s: has its partitions %s after its start", time.Since(began).Round(10*time.Millisecond))
	for p := range now {
		if before[p] != now[p] && (before[p] != members[1] || now[p] != again) {
			t.Errorf("partition %d went from %s to %s", p, before[p].name, now[p].name)
		}
	}
	if taken() != untouched {
		t.Errorf("%d partitions of the others were taken away", taken()-untouched)
	}

	r.kill(again)
	began = time.Now()
	last := r.settled(2, SessionTimeout+10*time.Second)
	t.Logf("killed for good: the others have its partitions after %s", time.Since(began).Round(10*time.Millisecond))
	for p := range last {
		if now[p] != again && last[p] != now[p] {
			t.Errorf("partition %d of %s went to %s", p, now[p].name, last[p].name)
		}
	}
	end()
	// What was finished since the last commit is repeated: 4 workers, 50 ms between commits, 0 to 2 ms for each.
	r.verify(2 * 4 * 200)
}

// TestSecondOfAnInstanceTakesOver starts the same instance twice.
func TestSecondOfAnInstanceTakesOver(t *testing.T) {
	r := newLanesRig(t)
	end := r.load()
	defer end()
	other := r.start("m1", "sender-1")
	older := r.start("m2", "sender-2")
	r.settled(2, 30*time.Second)
	// Until the older one hears of it, within a heartbeat, both work.
	r.unlist(older)
	r.mu.Lock()
	older.unwatched = true
	r.mu.Unlock()
	began := time.Now()
	newer := r.start("m3", "sender-2")
	select {
	case err := <-older.ended:
		t.Logf("the older one ends after %s: %v", time.Since(began).Round(10*time.Millisecond), err)
		if !errors.Is(err, ErrFenced) {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(SessionTimeout):
		t.Fatal("the older one goes on")
	}
	older.Close()
	r.settled(2, 30*time.Second)
	if err := newer.Commit(t.Context()); err != nil {
		t.Errorf("the newer one cannot commit: %v", err)
	}
	select {
	case err := <-other.ended:
		t.Errorf("another instance ends too: %v", err)
	case err := <-newer.ended:
		t.Errorf("the newer one ends: %v", err)
	default:
	}
	end()
	r.verify(1000)
}

// TestBrokersAway cuts all members off, for less and for more than the session timeout. They go on by themselves.
func TestBrokersAway(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{2 * time.Second, SessionTimeout + 3*time.Second} {
		t.Run(away.String(), func(t *testing.T) {
			t.Parallel()
			r := newLanesRig(t)
			end := r.load()
			defer end()
			members := []*laneMember{r.start("m1", "sender-1"), r.start("m2", "sender-2")}
			r.settled(2, 30*time.Second)
			for _, m := range members {
				m.wire.cut()
			}
			wait(t.Context(), away)
			began := time.Now()
			for _, m := range members {
				m.wire.heal()
			}
			end()
			r.settled(2, 30*time.Second)
			r.verify(2000)
			t.Logf("cut off for %s: all is finished %s after", away, time.Since(began).Round(10*time.Millisecond))
			for _, m := range members {
				select {
				case err := <-m.ended:
					t.Errorf("%s ended: %v", m.name, err)
				default:
				}
			}
		})
	}
}

// TestHungMemberHoldsStill hangs one member's network and leaves its process to run, with records in
// hand: it must begin nothing on what others have taken over.
func TestHungMemberHoldsStill(t *testing.T) {
	if os.Getenv("TEST_SLOW") == "" {
		t.Skip("its clocks are those of the session; a machine that stands still for seconds fails it: make ci-full")
	}
	t.Parallel()
	r := newLanesRig(t)
	end := r.load()
	defer end()
	r.start("m1", "sender-1")
	hung := r.start("m2", "sender-2")
	r.settled(2, 30*time.Second)
	r.unlist(hung) // what it thinks it has is not the point, what it begins is
	began := time.Now()
	hung.wire.hang()
	for hung.Sure() && time.Since(began) < time.Minute {
		wait(t.Context(), 5*time.Millisecond)
	}
	t.Logf("it begins nothing more after %s", time.Since(began).Round(10*time.Millisecond))
	r.settled(1, 30*time.Second)
	t.Logf("the other has its partitions after %s", time.Since(began).Round(10*time.Millisecond))
	wait(t.Context(), 2*time.Second)
	hung.wire.cut()
	testkit.Eventually(t, 30*time.Second, func() error {
		if n := len(hung.Parts()); n > 0 {
			return fmt.Errorf("it thinks that it has %d partitions", n)
		}
		return nil
	})
	hung.wire.heal()
	r.relist(hung)
	r.settled(2, 30*time.Second)
	end()
	r.verify(2 * 4 * 1000)
}
