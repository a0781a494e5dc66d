package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

const lanePartitions = 12

// lanesRig is a log with three lanes under load, and members that read them. It watches that nobody shares a partition.
type lanesRig struct {
	t      *testing.T
	cfg    Config
	topics []string
	writer *kgo.Client

	mu       sync.Mutex
	live     []*laneMember
	working  [lanePartitions]map[*laneMember]int
	done     map[partition]map[int64]int // how often each record was finished
	faults   []string
	samples  int
	produced int
}

// laneMember is one sender's lanes, with a worker.
type laneMember struct {
	*Lanes
	rig   *lanesRig
	name  string
	wire  *network
	stop  context.CancelFunc
	ended chan error

	// Guarded by rig.mu.
	killed    bool // it does nothing more that counts
	unwatched bool // it may work beside another
	taken     int  // partitions revoked or lost
}

func newLanesRig(t *testing.T) *lanesRig {
	t.Helper()
	r := &lanesRig{t: t, cfg: Config{Brokers: testkit.Broker(t), TopicPrefix: testkit.Prefix(t)}, done: map[partition]map[int64]int{}}
	for p := range r.working {
		r.working[p] = map[*laneMember]int{}
	}
	var err error
	if r.writer, err = r.cfg.NewClient("test", slog.New(slog.DiscardHandler), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.UnknownTopicRetries(-1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.writer.Close)
	for _, lane := range []string{"a", "b", "c"} {
		r.topics = append(r.topics, r.cfg.TopicPrefix+lane)
	}
	testkit.Topics(t, r.cfg.Brokers, lanePartitions, r.topics...)
	r.every(time.Millisecond, r.sample)
	return r
}

// every repeats f until the test ends.
func (r *lanesRig) every(d time.Duration, f func()) {
	ctx, stop := context.WithCancel(context.Background())
	var loop sync.WaitGroup
	loop.Go(func() {
		for wait(ctx, d) {
			f()
		}
	})
	r.t.Cleanup(func() {
		stop()
		loop.Wait()
	})
}

// load writes records to all partitions of all lanes until the returned function is called.
func (r *lanesRig) load() (end func()) {
	ctx, stop := context.WithCancel(r.t.Context())
	var loop sync.WaitGroup
	loop.Go(func() {
		for wait(ctx, 2*time.Millisecond) {
			for range 4 {
				rec := &kgo.Record{Topic: r.topics[rand.IntN(len(r.topics))], Partition: rand.Int32N(lanePartitions), Value: []byte("x")}
				r.writer.Produce(context.WithoutCancel(ctx), rec, func(_ *kgo.Record, err error) {
					r.mu.Lock()
					defer r.mu.Unlock()
					if err != nil {
						r.faults = append(r.faults, fmt.Sprintf("record for %s/%d not written: %v", rec.Topic, rec.Partition, err))
					} else {
						r.produced++
					}
				})
			}
		}
	})
	return sync.OnceFunc(func() {
		stop()
		loop.Wait()
		if err := r.writer.Flush(context.Background()); err != nil {
			r.t.Error(err)
		}
	})
}

// start makes a member with so many workers and lets it read.
func (r *lanesRig) start(name, instance string) *laneMember {
	r.t.Helper()
	m := &laneMember{rig: r, name: name, wire: &network{}, ended: make(chan error, 1)}
	given := func(parts []*Part) {
		r.mu.Lock()
		defer r.mu.Unlock()
		m.taken += len(parts)
	}
	var err error
	m.Lanes, err = NewLanes(r.cfg, LanesConfig{
		Topics: r.topics, Group: r.cfg.TopicPrefix + "g", Instance: instance, Grace: 10 * time.Second,
		Revoked: func([]*Part) {}, Released: given,
	}, slog.New(slog.DiscardHandler), kgo.Dialer(m.wire.dial))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go m.run(ctx)
	r.mu.Lock()
	r.live = append(r.live, m)
	r.mu.Unlock()
	r.t.Cleanup(func() { r.kill(m) })
	return m
}

// run reads, works on one record at a time for each of four workers, and commits.
func (m *laneMember) run(ctx context.Context) {
	type job struct {
		part   *Part
		offset int64
	}
	jobs := make(chan job)
	var loops sync.WaitGroup
	for range 4 {
		loops.Go(func() {
			for j := range jobs {
				m.work(j.part, j.offset)
			}
		})
	}
	loops.Go(func() {
		for wait(ctx, 50*time.Millisecond) {
			_ = m.Commit(ctx) // tried again
		}
	})
	var failed error
	for failed == nil {
		var batches []Batch
		batches, failed = m.Poll(ctx, MaxPoll)
		for _, b := range batches {
			for _, rec := range b.Records {
				if b.Part.Start(rec.Offset) {
					jobs <- job{b.Part, rec.Offset}
				}
			}
		}
	}
	close(jobs)
	m.stop()
	loops.Wait()
	m.ended <- failed
}

func (m *laneMember) work(p *Part, offset int64) {
	for !m.Sure() && !m.dead() && !p.Gone() {
		wait(context.Background(), 5*time.Millisecond)
	}
	if m.dead() || !p.Begin() {
		return
	}
	r := m.rig
	r.mu.Lock()
	if !m.killed && !m.unwatched {
		r.working[p.ID][m]++
		if len(r.working[p.ID]) > 1 {
			r.faults = append(r.faults, fmt.Sprintf("partition %d is worked on by two members at once", p.ID))
		}
	}
	r.mu.Unlock()
	wait(context.Background(), time.Duration(rand.IntN(3))*time.Millisecond)
	r.mu.Lock()
	if !m.killed {
		if r.working[p.ID][m]--; r.working[p.ID][m] <= 0 {
			delete(r.working[p.ID], m)
		}
		at := partition{p.Topic, p.ID}
		if r.done[at] == nil {
			r.done[at] = map[int64]int{}
		}
		r.done[at][offset]++
	}
	r.mu.Unlock()
	p.Done(offset)
}

func (m *laneMember) dead() bool {
	m.rig.mu.Lock()
	defer m.rig.mu.Unlock()
	return m.killed
}

// leave ends a member in good order.
func (r *lanesRig) leave(m *laneMember) {
	m.stop()
	<-m.ended
	if err := m.Commit(context.Background()); err != nil {
		r.t.Errorf("last commit of %s: %v", m.name, err)
	}
	m.Close()
	r.forget(m)
}

// kill ends a member as kill -9 does: not a byte more leaves it, and the brokers see its connections close.
func (r *lanesRig) kill(m *laneMember) {
	m.wire.cut()
	r.forget(m)
	m.stop()
	m.Close()
}

func (r *lanesRig) forget(m *laneMember) {
	r.mu.Lock()
	m.killed = true
	for p := range r.working {
		delete(r.working[p], m)
	}
	r.mu.Unlock()
	r.unlist(m)
}

// unlist lets a member go on without a look at what it thinks it has.
func (r *lanesRig) unlist(m *laneMember) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = slices.DeleteFunc(r.live, func(o *laneMember) bool { return o == m })
}

func (r *lanesRig) relist(m *laneMember) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = append(r.live, m)
}

// owners is who has each partition at one instant: all members are looked at together.
func (r *lanesRig) owners() (owner [lanePartitions]*laneMember, lanes [lanePartitions]int, split []string) {
	r.mu.Lock()
	live := slices.Clone(r.live)
	r.mu.Unlock()
	for _, m := range live {
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	for _, m := range live {
		count := map[int32]int{}
		for p := range m.parts {
			count[p.id]++
		}
		for p, n := range count {
			if owner[p] != nil {
				split = append(split, fmt.Sprintf("partition %d belongs to %s and %s at once", p, owner[p].name, m.name))
			}
			if n != len(r.topics) {
				split = append(split, fmt.Sprintf("%s has %d of %d lanes of partition %d", m.name, n, len(r.topics), p))
			}
			owner[p], lanes[p] = m, n
		}
	}
	return owner, lanes, split
}

func (r *lanesRig) sample() {
	_, _, split := r.owners()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples++
	r.faults = append(r.faults, split...)
}

// settled waits until all partitions are shared out evenly among n members, and returns who has which.
func (r *lanesRig) settled(n int, within time.Duration) (owner [lanePartitions]*laneMember) {
	r.t.Helper()
	testkit.Eventually(r.t, within, func() error {
		now, _, _ := r.owners()
		if now != owner {
			owner = now
			return errors.New("partitions still move")
		}
		counts := map[*laneMember]int{}
		for p, m := range now {
			if m == nil {
				return fmt.Errorf("partition %d has no owner", p)
			}
			counts[m]++
		}
		for m, c := range counts {
			if len(counts) != n || c < lanePartitions/n || c > lanePartitions/n+1 {
				return fmt.Errorf("%s has %d partitions, %d members have any", m.name, c, len(counts))
			}
		}
		return nil
	})
	return owner
}

// verify checks that every record was finished, at most repeats of them twice.
func (r *lanesRig) verify(repeats int) {
	r.t.Helper()
	var finished, again int
	for idle := time.Now(); ; wait(r.t.Context(), 20*time.Millisecond) {
		was := finished
		finished, again = r.finished()
		if finished == r.produced {
			break
		}
		if finished != was {
			idle = time.Now()
		}
		if time.Since(idle) > 30*time.Second {
			r.t.Fatalf("%d records of %d finished, and nothing moves:\n%s", finished, r.produced, r.describe())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Logf("%d records, none lost, %d repeated; %d looks at who has what", r.produced, again, r.samples)
	if again > repeats {
		r.t.Errorf("%d records were repeated, want at most %d", again, repeats)
	}
	if len(r.faults) > 0 {
		r.t.Errorf("%d faults, the first: %s", len(r.faults), r.faults[0])
	}
}

// network is one member's connections.
type network struct {
	mu   sync.Mutex
	down bool
	hung bool
	open []net.Conn
}

// finished is how many records were, and how often more than once.
func (r *lanesRig) finished() (n, again int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, offsets := range r.done {
		for _, times := range offsets {
			n++
			again += times - 1
		}
	}
	return n, again
}

// describe says where members stand.
func (r *lanesRig) describe() string {
	r.mu.Lock()
	live := slices.Clone(r.live)
	r.mu.Unlock()
	var out []string
	for _, m := range live {
		out = append(out, fmt.Sprintf("%s: sure %t", m.name, m.Sure()))
		for _, p := range m.Parts() {
			p.mu.Lock()
			r.mu.Lock()
			out = append(out, fmt.Sprintf("  %s/%d: next %d, open %d, begun %d, finished %d", p.Topic, p.ID, p.tracker.next, len(p.tracker.open), p.begun, len(r.done[partition{p.Topic, p.ID}])))
			r.mu.Unlock()
			p.mu.Unlock()
		}
	}
	return strings.Join(append(out, r.faults...), "\n")
}

// hungConn is a connection whose bytes vanish in both directions once its network hangs.
type hungConn struct {
	net.Conn
	wire *network
}

func (c hungConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.wire.hangs() {
			return n, err
		}
	}
}

func (c hungConn) Write(b []byte) (int, error) {
	if c.wire.hangs() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (n *network) hangs() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hung
}

// hang lets nothing through and closes nothing, as a firewall that drops; new connections cannot be told from old ones.
func (n *network) hang() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hung = true
}

func (n *network) dial(ctx context.Context, kind, addr string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return nil, &net.OpError{Op: "dial", Net: kind, Err: errors.New("cut off")}
	}
	c, err := new(net.Dialer).DialContext(ctx, kind, addr)
	if err != nil {
		return nil, err
	}
	n.open = append(n.open, c)
	return hungConn{c, n}, nil
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for _, c := range n.open {
		_ = c.Close()
	}
	n.open = nil
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down, n.hung = false, false
}
