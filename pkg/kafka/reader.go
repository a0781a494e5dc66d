package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
)

// Sizes and times of reads at positions.
const (
	// readBytes is asked for each position of a partition, up to readPositions of them: positions asked
	// for together often lie beside each other, and then one answer has them all.
	readBytes     = 32 << 10
	readPositions = 8
	// readWaitMillis is how long a broker waits for something at a position that it does not have yet: a new
	// leader learns within it how far the log was committed.
	readWaitMillis = 500
	readBackoff    = 100 * time.Millisecond
	leadersFor     = 5 * time.Second // that leaders are remembered, unless one answers that it is none
)

// Reader reads single records at positions that are known. It is safe for concurrent use.
type Reader struct {
	client     *kgo.Client
	admin      Admin
	decompress kgo.Decompressor
}

// NewReader makes a reader; it connects when it is used.
func NewReader(cfg Config, id string, log *slog.Logger) (*Reader, error) {
	client, err := cfg.NewClient(id, log)
	if err != nil {
		return nil, err
	}
	return &Reader{client: client, admin: NewAdmin(client), decompress: kgo.DefaultDecompressor()}, nil
}

// Close ends the reader's connections; reads under way err.
func (r *Reader) Close() { r.client.Close() }

// ReadAt reads the records at positions. A position is absent from the answer if there is no committed record at
// it: it is gone by retention or compaction, was never written or is not committed yet, its transaction was
// aborted, or topic or partition do not exist. The fewest fetches are made: one to each broker, more only
// where positions of a partition lie far apart. It waits for brokers that are away, and for leaders that
// move, until ctx ends, and then errs.
func (r *Reader) ReadAt(ctx context.Context, at []delivery.Position) (map[delivery.Position]*kgo.Record, error) {
	w := newWanted(at)
	fresh := false
	for {
		w.moved = false
		faults, err := r.round(ctx, w, fresh)
		if err == nil && len(w.left) == 0 {
			return w.found, nil
		}
		fresh = faults != nil || !w.moved
		if err == nil && fresh && !wait(ctx, readBackoff) {
			err = errors.Join(ctx.Err(), faults)
		}
		if err != nil {
			return nil, fmt.Errorf("read %d records of the log: %w", len(at), explain(err))
		}
	}
}

// round asks every broker once for what is left. faults are those that may have gone by the next round; err
// is final.
func (r *Reader) round(ctx context.Context, w *wanted, fresh bool) (faults, err error) {
	asked, faults, err := r.requests(ctx, w, fresh)
	if err != nil {
		return nil, err
	}
	answers := make([]answer, len(asked))
	var all sync.WaitGroup
	for i, broker := range slices.Sorted(maps.Keys(asked)) {
		all.Go(func() {
			resp, err := r.client.Broker(int(broker)).Request(ctx, asked[broker])
			answers[i] = answer{resp: resp, err: err}
		})
	}
	all.Wait()
	var outside []string // topics of positions before the start or behind the end of their partition
	for _, a := range answers {
		out, again, err := w.answered(a, r.decompress)
		if err != nil {
			return nil, err
		}
		outside, faults = append(outside, out...), errors.Join(faults, again)
	}
	if len(outside) > 0 {
		faults = errors.Join(faults, r.trim(ctx, w, outside))
	}
	if ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), faults)
	}
	return faults, nil
}

// requests are what to ask of which broker for what is left. Positions of topics and partitions that do not
// exist are left no more.
func (r *Reader) requests(ctx context.Context, w *wanted, fresh bool) (map[int32]*kmsg.FetchRequest, error, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range w.topics() {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
	}
	if len(req.Topics) == 0 {
		return nil, nil, nil
	}
	age := leadersFor
	if fresh {
		age = time.Nanosecond
	}
	meta, err := heed(ctx, func(ctx context.Context) (*kmsg.MetadataResponse, error) {
		return r.client.RequestCachedMetadata(ctx, req, age)
	})
	if err != nil {
		if err = explain(err); ctx.Err() != nil || errors.Is(err, ErrRefused) || errors.Is(err, kgo.ErrClientClosed) {
			return nil, nil, errors.Join(ctx.Err(), err)
		}
		return nil, err, nil
	}
	return w.requests(meta)
}

// trim gives up positions outside of their partitions.
func (r *Reader) trim(ctx context.Context, w *wanted, topics []string) error {
	starts, ends, err := r.admin.Bounds(ctx, topics...)
	if err != nil {
		return err
	}
	for p := range w.left {
		start, known := starts.Lookup(p.topic, p.id)
		end, also := ends.Lookup(p.topic, p.id)
		if known && also {
			w.keep(p, func(offset int64) bool { return start.Offset <= offset && offset < end.Offset })
		}
	}
	return nil
}

// answer is what a broker said.
type answer struct {
	resp kmsg.Response
	err  error
}

// wanted is what a read still looks for.
type wanted struct {
	left  map[partition][]int64 // ascending, never empty
	large map[partition]bool    // whose next record did not fit the answer
	ids   map[[16]byte]string   // names of topics
	found map[delivery.Position]*kgo.Record
	moved bool // something was settled since it was last set false
}

func newWanted(at []delivery.Position) *wanted {
	w := &wanted{
		left: map[partition][]int64{}, large: map[partition]bool{}, ids: map[[16]byte]string{},
		found: make(map[delivery.Position]*kgo.Record, len(at)),
	}
	for _, a := range at {
		if a.Topic == "" || a.Partition < 0 || a.Offset < 0 {
			continue // the zero position, and what no log has
		}
		p := partition{a.Topic, a.Partition}
		w.left[p] = append(w.left[p], a.Offset)
	}
	for p, offsets := range w.left {
		slices.Sort(offsets)
		w.left[p] = slices.Compact(offsets)
	}
	return w
}

func (w *wanted) topics() []string {
	var names []string
	for p := range w.left {
		names = append(names, p.topic)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// keep leaves only some of a partition's offsets.
func (w *wanted) keep(p partition, which func(int64) bool) {
	before := len(w.left[p])
	w.left[p] = slices.DeleteFunc(w.left[p], func(o int64) bool { return !which(o) })
	w.moved = w.moved || len(w.left[p]) < before
	if len(w.left[p]) == 0 {
		delete(w.left, p)
	}
}

// requests are the fetches of what is left, by the leaders. Partitions without a leader are faults.
func (w *wanted) requests(meta *kmsg.MetadataResponse) (map[int32]*kmsg.FetchRequest, error, error) {
	asked := map[int32]*kmsg.FetchRequest{}
	var faults error
	for _, t := range meta.Topics {
		if t.Topic == nil {
			continue
		}
		name, err := *t.Topic, kerr.ErrorForCode(t.ErrorCode)
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			if err = fmt.Errorf("topic %s: %w", name, err); !kerr.IsRetriable(err) {
				return nil, nil, err
			}
			faults = errors.Join(faults, err)
			continue
		}
		leaders := map[int32]int32{}
		for _, p := range t.Partitions {
			leaders[p.Partition] = p.Leader
		}
		w.ids[t.TopicID] = name
		for _, p := range w.of(name) {
			switch leader, exists := leaders[p.id]; {
			case !exists:
				w.keep(p, func(int64) bool { return false })
			case leader < 0:
				faults = errors.Join(faults, fmt.Errorf("topic %s, partition %d: %w", name, p.id, kerr.LeaderNotAvailable))
			default:
				if asked[leader] == nil {
					asked[leader] = newFetch()
				}
				w.add(asked[leader], p, t.TopicID)
			}
		}
	}
	return asked, faults, nil
}

// of are the partitions of a topic in which something is left.
func (w *wanted) of(topic string) []partition {
	var of []partition
	for p := range w.left {
		if p.topic == topic {
			of = append(of, p)
		}
	}
	return of
}

func newFetch() *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.IsolationLevel = 1 // read committed
	req.MinBytes, req.MaxBytes = 1, fetchBufferBytes
	req.MaxWaitMillis = readWaitMillis
	return req
}

// add asks for a partition's first position, and what lies behind it.
func (w *wanted) add(req *kmsg.FetchRequest, p partition, id [16]byte) {
	ask := kmsg.NewFetchRequestTopicPartition()
	ask.Partition, ask.FetchOffset = p.id, w.left[p][0]
	ask.PartitionMaxBytes = readBytes * int32(min(len(w.left[p]), readPositions)) //nolint:gosec // at most readPositions
	if w.large[p] {
		ask.PartitionMaxBytes = maxMessageBytes
	}
	i := slices.IndexFunc(req.Topics, func(t kmsg.FetchRequestTopic) bool { return t.Topic == p.topic })
	if i < 0 {
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic, topic.TopicID = p.topic, id // newer brokers take the id alone
		i, req.Topics = len(req.Topics), append(req.Topics, topic)
	}
	req.Topics[i].Partitions = append(req.Topics[i].Partitions, ask)
}

// answered takes what a broker said. outside are topics that have a position before the start or behind the
// end of its partition; faults are those to ask again about.
func (w *wanted) answered(a answer, d kgo.Decompressor) (outside []string, faults, err error) {
	resp, ok := a.resp.(*kmsg.FetchResponse)
	if a.err == nil && ok {
		a.err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if a.err != nil {
		if a.err = explain(a.err); errors.Is(a.err, ErrRefused) || errors.Is(a.err, kgo.ErrClientClosed) {
			return nil, nil, a.err
		}
		return nil, a.err, nil
	}
	for _, t := range resp.Topics {
		name := t.Topic
		if name == "" {
			name = w.ids[t.TopicID]
		}
		for i := range t.Partitions {
			p := partition{name, t.Partitions[i].Partition}
			err := w.take(p, &t.Partitions[i], d)
			switch {
			case err == nil:
			case errors.Is(err, kerr.OffsetOutOfRange):
				outside = append(outside, name)
			case kerr.IsRetriable(err):
				faults = errors.Join(faults, err)
			default:
				return nil, nil, err
			}
		}
	}
	return outside, faults, nil
}

// take takes what was fetched of a partition.
func (w *wanted) take(p partition, fetched *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) error {
	offsets := w.left[p]
	if len(offsets) == 0 {
		return nil
	}
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: offsets[0], IsolationLevel: kgo.ReadCommitted(), Topic: p.topic, Partition: p.id,
	}, fetched, d, nil)
	if got.Err != nil {
		return fmt.Errorf("fetch topic %s, partition %d at offset %d: %w", p.topic, p.id, offsets[0], got.Err)
	}
	for _, r := range got.Records {
		if _, is := slices.BinarySearch(offsets, r.Offset); is {
			w.found[delivery.Position{Topic: p.topic, Partition: p.id, Offset: r.Offset}] = r
		}
	}
	was := w.large[p]
	w.large[p] = false
	if next == offsets[0] {
		if next < got.LastStableOffset { // it is there, and larger than what was asked for
			w.large[p], w.moved = true, w.moved || !was
			return nil
		}
		next = offsets[len(offsets)-1] + 1 // nothing is committed from here on
	}
	w.keep(p, func(o int64) bool { return o >= next })
	return nil
}
