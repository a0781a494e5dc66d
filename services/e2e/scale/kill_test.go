package scale

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/e2e/cluster"
)

const (
	// stuckIn is the partition of which the head is stuck.
	stuckIn = 0
	// maxOpen is how many records of a partition a sender has open at most.
	maxOpen = 1000
	// maxMetadata is Kafka's default offset.metadata.max.bytes.
	maxMetadata = 4096
	// commitTime bounds what a sender may have finished since its last commit: a tenth of a second where brokers
	// are not overloaded, and as long as a commit may take where they are.
	commitTime = 5 * time.Second
)

// TestKillBehindAStuckHead kills a sender while much is finished behind deliveries that are not.
//
// An attempt ends after at most 30 s, and so one delivery of a webhook that hangs is at the head for at most two of
// them, the one that it waits for and its own. Longer is the head held by a webhook that cannot keep up, as it answers
// slowly or has a rate limit, and has parked deliveries: those go ahead of its new ones, so a new one that got a place
// in its queue keeps it, not sent, for as long as parked ones come. This is the head here.
func TestKillBehindAStuckHead(t *testing.T) {
	beside(t)
	t.Run("one head", testOneHead)
	t.Run("a thousand heads", testThousandHeads)
}

func testOneHead(t *testing.T) {
	const hanging = 20
	n := records(t, 1_000_000, 20_000, 3_000)
	w := newWorld(t, nil)
	slow := w.newChain()
	f := flow{
		world: w, every: n / hanging, healthy: map[int]bool{},
		hooks: w.several(20, behaviour{takes: 5 * time.Millisecond}), dead: w.several(hanging, behaviour{hangs: true}),
	}
	w.flush()
	p := w.sender()
	slow.start()
	watch, began := w.watch(), time.Now()
	f.send(n + under)
	f.arrives(n)
	took := time.Since(began)
	k, stood := w.kill(p), time.Since(began)
	// A short run ends before the first that hangs does, which holds the head too, should the chain break.
	if at := k.commit.At; at > pick[int64](0, 3, 3) {
		t.Errorf("the head is not stuck: %d is committed", at)
	}
	w.resume(&k, f.healthy)
	f.arrives(len(f.healthy))
	slow.end()
	t.Logf("the head stood for %s, %d deliveries of its webhook passed it, %d webhooks hung beside it", short(stood), slow.passed(), hanging)
	t.Logf("%d deliveries finished behind it in %s (%.0f/s)", n, short(took), float64(n)/took.Seconds())
	w.allow(slow.hook)
	w.receiver.letGo()
	testkit.Eventually(t, patience+wire.ParkLong, w.allAccepted)
	testkit.Eventually(t, patience, w.allDone)
	w.judgeKill(k, f.healthy, watch())
}

func testThousandHeads(t *testing.T) {
	const heads = 1100
	w := newWorld(t, nil)
	dead, hooks := w.several(heads, behaviour{hangs: true}), w.several(20, behaviour{})
	w.flush()
	healthy := map[int]bool{}
	before := 0 // healthy ones before the last head that is taken in: with that one open, nothing behind it is
	for i, hook := range dead {
		if i == maxOpen-1 {
			before = len(healthy)
		}
		w.deliver(hook)
		// In a full run, two bytes of metadata for every second run of what is finished.
		for range pick([]int{0, 200}, []int{1, 9}, []int{0, 2})[i%2] {
			healthy[w.deliver(hooks[len(healthy)%len(hooks)])] = true
		}
	}
	w.flush()
	full := func() error {
		if n, hung := w.receiver.accepted(), w.receiver.inFlight(); n != before || hung != maxOpen {
			return fmt.Errorf("%d of %d deliveries are accepted, %d of %d hang", n, before, hung, maxOpen)
		}
		return nil
	}
	p := w.sender()
	watch := w.watch()
	testkit.Eventually(t, patience, full)
	<-time.After(time.Second) // nothing more comes
	if err := full(); err != nil {
		t.Errorf("intake goes on: %v", err)
	}
	k := w.kill(p)
	testkit.Eventually(t, patience, func() error {
		if n := w.receiver.inFlight(); n > 0 {
			return fmt.Errorf("%d POSTs of the sender that was killed still hang", n)
		}
		return nil
	})
	k.again = time.Now()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, full)
	w.receiver.letGo()
	testkit.Eventually(t, patience, w.allAccepted)
	testkit.Eventually(t, patience, w.allDone)
	w.judgeKill(k, healthy, watch())
}

// kill is a kill -9, and what was so at that moment.
type kill struct {
	process *cluster.Process
	at      time.Time
	commit  kadm.Offset   // of the partition whose head is stuck
	again   time.Time     // when it was started again: what came before is of the first
	back    time.Duration // from the restart to the first POST of what had not been sent; zero: not measured
}

// kill kills a sender and reads what it had committed.
func (w *world) kill(p *cluster.Process) kill {
	w.t.Helper()
	k := kill{process: p, at: time.Now()}
	p.Kill()
	commits, err := w.commits()
	if err != nil {
		w.t.Fatal(err)
	}
	head, _ := commits.Lookup(w.topics.Deliveries, stuckIn)
	k.commit = head.Offset
	return k
}

// resume starts the sender again, and notes when it sends something new.
func (w *world) resume(k *kill, isHealthy map[int]bool) {
	w.t.Helper()
	known := byDelivery(w.receiver.all())
	k.again = time.Now()
	if err := k.process.Start(); err != nil {
		w.t.Fatal(err)
	}
	from := w.receiver.count()
	testkit.Eventually(w.t, patience, func() error {
		for _, p := range w.receiver.since(from) {
			if len(known[p.delivery]) == 0 && isHealthy[p.delivery] {
				k.back = p.at.Sub(k.again)
				return nil
			}
		}
		return fmt.Errorf("%d POSTs since the restart, none of them new", w.receiver.count()-from)
	})
}

// behind counts what a commit says is finished behind its offset.
func behind(c kadm.Offset) int {
	n := 0
	for range kafka.FinishedBehind(c.At, c.Metadata) {
		n++
	}
	return n
}

// finished are the offsets that a commit says are finished.
func finished(c kadm.Offset) func(offset int64) bool {
	behind := slices.Collect(kafka.FinishedBehind(c.At, c.Metadata))
	return func(offset int64) bool {
		_, found := slices.BinarySearch(behind, offset)
		return offset < c.At || found
	}
}

// toll is what a kill cost the deliveries of healthy webhooks.
type toll struct {
	inFlight int       // at the kill
	since    int       // answered and not committed
	oldest   time.Time // when the first of those was answered
	repeats  int
	lost     int
	wrong    []string // repeats of what was committed, or of what the first sender never sent
	others   int      // POSTs of other webhooks that were in flight, and came again
}

// toll counts what a kill cost.
func (w *world) toll(k kill, healthy map[int]bool) toll {
	isFinished, written := finished(k.commit), w.allWritten()
	out := toll{oldest: k.at, lost: len(healthy)}
	for n, posts := range byDelivery(w.receiver.all()) {
		first := posts[0]
		before, atOnce := first.at.Before(k.again), first.ended.IsZero() || first.ended.After(k.at)
		if !healthy[n] {
			if before && atOnce && len(posts) > 1 {
				out.others++
			}
			continue
		}
		if w.receiver.done[n] {
			out.lost--
		}
		committed := isFinished(written[n].record.Offset)
		switch {
		case before && atOnce:
			out.inFlight++
		case before && !committed:
			out.since++
			if first.ended.Before(out.oldest) {
				out.oldest = first.ended
			}
		}
		out.repeats += len(posts) - 1
		if len(posts) > 1 && (committed || !before) || len(posts) > 2 {
			out.wrong = append(out.wrong, fmt.Sprintf("delivery %d was POSTed %d times; committed at the kill: %t", n, len(posts), committed))
		}
	}
	return out
}

// judgeKill holds what came after a kill against the promises: nothing is lost, and of what the receiver had
// accepted only that is repeated which was not committed.
func (w *world) judgeKill(k kill, healthy map[int]bool, watched watched) {
	t, toll := w.t, w.toll(k, healthy)
	t.Helper()
	t.Logf("killed with %d committed as finished behind offset %d, in %d bytes of metadata; in flight %d, finished since the commit %d (the oldest for %s)",
		behind(k.commit), k.commit.At, len(k.commit.Metadata), toll.inFlight, toll.since, short(k.at.Sub(toll.oldest)))
	if k.back > 0 {
		t.Logf("something new is POSTed %s after the restart", short(k.back))
	}
	t.Logf("repeated %d, and %d that hung; lost %d; metadata at most %d bytes of %d in %d looks (%d finished behind the head)",
		toll.repeats, toll.others, toll.lost, watched.longest, maxMetadata, watched.looks, watched.behind)
	for _, wrong := range toll.wrong[:min(len(toll.wrong), 10)] {
		t.Error(wrong)
	}
	if toll.repeats > toll.inFlight+toll.since || toll.lost > 0 || len(toll.wrong) > 0 {
		t.Errorf("%d repeated, %d of them wrongly, of %d in flight and %d finished since the commit; %d lost",
			toll.repeats, len(toll.wrong), toll.inFlight, toll.since, toll.lost)
	}
	if age := k.at.Sub(toll.oldest); age > commitTime {
		t.Errorf("something was finished %s before the kill and not committed", age)
	}
	if watched.longest > maxMetadata || watched.looks == 0 {
		t.Errorf("metadata of %d bytes in %d looks", watched.longest, watched.looks)
	}
}

// watched is what was seen of the commits.
type watched struct {
	looks   int
	longest int // bytes of metadata
	behind  int // the most that was finished behind the head
}

// watch looks at what is committed of all lanes until it is called off.
func (w *world) watch() (off func() watched) {
	var out watched
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			commits, err := w.commits()
			if err != nil {
				continue // the group is not there yet
			}
			out.looks++
			commits.Each(func(o kadm.OffsetResponse) { out.longest = max(out.longest, len(o.Metadata)) })
			head, _ := commits.Lookup(w.topics.Deliveries, stuckIn)
			out.behind = max(out.behind, behind(head.Offset))
		}
	}()
	var once sync.Once
	stop := func() {
		once.Do(func() { close(end) })
		<-ended
	}
	w.t.Cleanup(stop)
	return func() watched {
		stop()
		return out
	}
}
