package bench

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// What a fed loop writes and how much it is fed.
const (
	fedPerSecond    = 15_000 // records of the backlog, for each second of the run; a round that outruns them ends early
	attemptBytes    = 300    // of the record of an attempt
	fedCommits      = 100 * time.Millisecond
	fedQueueRecords = 1024
)

// bareFed is bare-post with its bytes from the log, a record of each attempt, and commits: what is left for a sender's own work.
func bareFed() Case {
	return Case{
		Name: "bare-fed", Unit: "POSTs", Ceiling: "bare-post",
		Title: "the bare POST loop fed from the log, with an attempt record each and commits",
		Run:   runBareFed,
	}
}

func runBareFed(ctx context.Context, bed *Bed) (Sample, error) {
	receiver, err := bed.Receiver(ctx)
	if err != nil {
		return Sample{}, err
	}
	log, err := bed.Log(ctx)
	if err != nil {
		return Sample{}, err
	}
	n := max(1000, int((warmUp(bed.Time)+bed.Time).Seconds()*fedPerSecond))
	payload := body(time.Now(), bed.BodyBytes)
	err = write(ctx, log.Client, n, func(int) (*kgo.Record, error) {
		return &kgo.Record{Topic: log.Topics.Deliveries, Key: []byte(uuid.NewString()), Value: payload}, nil
	})
	if err != nil {
		return Sample{}, err
	}
	poster, err := newPoster(receiver.URL()+"/fed", bed.InFlight)
	if err != nil {
		return Sample{}, err
	}
	defer poster.close()
	f := &fed{log: log, poster: poster, queue: make(chan *kgo.Record, fedQueueRecords), total: int64(n), all: make(chan struct{})}
	return f.run(ctx, bed, receiver.Process, log.Process)
}

// fed is a loop that is fed.
type fed struct {
	log    *Log
	poster *poster
	queue  chan *kgo.Record
	posted atomic.Int64
	total  int64
	all    chan struct{} // closed when all have been posted
}

// run measures from the first POST until bed.Time has passed or the backlog is empty.
func (f *fed) run(ctx context.Context, bed *Bed, of ...*Process) (Sample, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	running, run := errgroup.WithContext(ctx)
	running.Go(func() error { return ended(run, f.read(run, bed)) })
	for range bed.InFlight {
		running.Go(func() error { return ended(run, f.post(run)) })
	}
	s, err := f.measure(run, bed.Time, of...)
	stop()
	if failed := running.Wait(); failed != nil {
		return Sample{}, failed
	}
	return s, err
}

func (f *fed) measure(ctx context.Context, t time.Duration, of ...*Process) (Sample, error) {
	started := func() (bool, error) { return f.posted.Load() > 0, nil }
	if err := await(ctx, readyEvery, patience, "a first POST", started); err != nil {
		return Sample{}, err
	}
	if err := pause(ctx, warmUp(t)); err != nil {
		return Sample{}, err
	}
	before, watch := f.posted.Load(), StartWatch(of...)
	rate := sample(ctx, rateOf(f.posted.Load))
	select {
	case <-f.all:
	case <-time.After(t):
	case <-ctx.Done():
		return Sample{}, ctx.Err()
	}
	units := int(f.posted.Load() - before)
	seconds, cpu := watch.Stop(units)
	return Sample{Figures: map[string]float64{"rate": float64(units) / seconds}, CPU: cpu, Series: map[string][]Point{"rate": rate()}}, nil
}

// read reads the log into the queue, and commits what it has read.
func (f *fed) read(ctx context.Context, bed *Bed) error {
	client, err := f.log.Kafka.NewClient("bare-fed", slog.New(slog.DiscardHandler),
		kgo.ConsumerGroup(f.log.Kafka.TopicPrefix+"bare-fed"), kgo.ConsumeTopics(f.log.Topics.Deliveries),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(fedCommits))
	if err != nil {
		return err
	}
	bed.later(func(context.Context) error { client.Close(); return nil })
	for ctx.Err() == nil {
		for _, r := range client.PollRecords(ctx, fedQueueRecords).Records() {
			select {
			case f.queue <- r:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// post takes from the queue: a POST and the record of an attempt for each.
func (f *fed) post(ctx context.Context) error {
	attempt := make([]byte, attemptBytes)
	for {
		select {
		case r := <-f.queue:
			if err := f.poster.post(ctx, string(r.Key), r.Value); err != nil {
				return err
			}
			f.log.Client.Produce(ctx, &kgo.Record{Topic: f.log.Topics.Attempts, Key: r.Key, Value: attempt}, nil)
			if f.posted.Add(1) == f.total {
				close(f.all)
			}
		case <-ctx.Done():
			return nil
		}
	}
}
