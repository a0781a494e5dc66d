package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

const (
	tenYears = 10 * 365 * 24 * time.Hour

	// segmentShare is how many segments the bound holds: with a few dozen busy partitions, each
	// with one open segment that cannot go, most of the bound must be in closed ones.
	segmentShare = 64

	// compactGrowth is how much the compacted topics may grow before they are compacted, at the least.
	compactGrowth = 4 << 20
	// retainEvery is how often retention by time is applied.
	retainEvery = time.Hour
	// maxMarks is how many end marks of transactions are looked for behind a reader's place.
	maxMarks = 16
	// firstRetain is how long after a start retention is applied first; a start should be quick.
	firstRetain = time.Minute
	// keepTimeout bounds one pass over the log, which talks to a broker in this process.
	keepTimeout = 30 * time.Second
	// closeTimeout bounds the notes that are made at a stop.
	closeTimeout = 5 * time.Second
)

// logServer is kfake on a directory, kept within its bound.
type logServer struct {
	dir     string // the data directory; the log's own files are in dir/log
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	bound   int64
	kept    map[string]bool     // topics that the bound does not trim
	readers map[string][]string // topics by group
	logger  *slog.Logger

	compactedSize int64 // of the compacted topics, after their last compaction
	retainedAt    time.Time

	broker        *brokerLog
	notedPlaces   []byte
	notedPlacesAt time.Time
	notedTopics   time.Time
}

// openLog mends what a crash left, starts the broker on 127.0.0.1 and connects to it.
func openLog(cfg Config) (*logServer, error) {
	l := &logServer{
		dir: cfg.Dir, bound: cfg.LogMaxBytes, logger: cfg.Logger,
		kept: make(map[string]bool), readers: cfg.Readers, retainedAt: time.Now().Add(firstRetain - retainEvery),
		broker: newBrokerLog(cfg.Logger),
	}
	for _, t := range cfg.Kept {
		l.kept[t] = true
	}
	err := undoCompaction(cfg.Dir)
	if err == nil {
		err = l.mendLog()
	}
	if err != nil {
		return nil, dirError(cfg.Dir, err)
	}
	if l.cluster, err = kfake.NewCluster(brokerOptions(cfg, l.broker)...); err != nil {
		return nil, dirError(cfg.Dir, fmt.Errorf("start the embedded log: %w", err))
	}
	(&gate{dir: cfg.Dir, room: cfg.room}).guard(l.cluster)
	l.client, err = kgo.NewClient(kgo.SeedBrokers(l.cluster.ListenAddrs()...), kgo.ClientID("doorstep-embedded"))
	if err != nil {
		l.cluster.Close()
		return nil, fmt.Errorf("connect to the embedded log: %w", err)
	}
	l.admin = kadm.NewClient(l.client)
	return l, nil
}

func brokerOptions(cfg Config, log *brokerLog) []kfake.Opt {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DataDir(logDir(cfg.Dir)),
		kfake.ClusterID("doorstep"),
		kfake.WithLogger(log),
		kfake.ListenFn(listen),
		kfake.BrokerConfigs(map[string]string{
			"default.replication.factor": "1",
			"log.segment.bytes":          strconv.FormatInt(min(cfg.LogMaxBytes/segmentShare, 16<<20), 10),
			// Retention only where a topic asks for it: the broker's default would go for
			// compacted topics too.
			"log.retention.ms": "-1",
			// Compaction is ours to call, see keepCompacted.
			"log.cleaner.backoff.ms": strconv.FormatInt(tenYears.Milliseconds(), 10),
			// A small install may be switched off for weeks; its readers' places must not go.
			"offsets.retention.minutes": strconv.Itoa(int(tenYears.Minutes())),
		}),
	}
	if cfg.LogSync {
		opts = append(opts, kfake.SyncWrites())
	}
	return opts
}

func logDir(dir string) string { return filepath.Join(dir, "log") }

// close writes the log's state down; a start after it is quicker than after a crash. A broker that was
// stopped by a failed write stays as it is.
func (l *logServer) close() {
	select {
	case <-l.broker.failed:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if end, err := l.ends(ctx); err == nil {
		_ = writeWatermarks(l.dir, end) // for want of it the next start knows less
	}
	_ = l.noteTopics() // for want of it the copy is as old as the last second's
	_ = l.notePlaces(ctx)
	l.client.Close()
	l.cluster.Close()
}

// note writes down what a start needs that finds the log damaged.
func (l *logServer) note(ctx context.Context) error {
	if err := l.noteTopics(); err != nil {
		return fmt.Errorf("note the topics: %w", err)
	}
	if time.Since(l.notedPlacesAt) < notePlacesEvery {
		return nil
	}
	l.notedPlacesAt = time.Now()
	if err := l.notePlaces(ctx); err != nil {
		return fmt.Errorf("note the readers' places: %w", err)
	}
	return nil
}

// keep brings the log within its bound, or as low as it can when the disk is short. It returns
// the size after that and what was trimmed, in bytes, also when it errs.
func (l *logServer) keep(ctx context.Context, diskShort bool) (size, trimmed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	all, err := logfiles.Read(logDir(l.dir))
	if err != nil {
		return 0, 0, err
	}
	size = all.Size()
	if err := l.note(ctx); err != nil {
		return size, 0, err
	}
	if err := l.keepCompacted(ctx, all); err != nil {
		return size, 0, err
	}
	excess := int64(0)
	switch {
	case diskShort:
		excess = size
	case size > l.bound/trimAboveDen*trimAboveNum:
		excess = size - l.bound/trimToDen*trimToNum
	}
	if excess == 0 {
		return size, 0, nil
	}
	if err := l.trim(ctx, all, excess); err != nil {
		return size, 0, err
	}
	after, err := logfiles.Read(logDir(l.dir))
	if err != nil {
		return size, 0, err
	}
	return after.Size(), max(0, size-after.Size()), nil
}

// trim deletes excess bytes of read records, if there are as many.
func (l *logServer) trim(ctx context.Context, all logfiles.Segments, excess int64) error {
	compacted, err := l.compactedTopics(ctx)
	if err != nil {
		return err
	}
	for p := range all {
		if compacted[p.Topic] || l.kept[p.Topic] {
			delete(all, p)
		}
	}
	end, err := l.ends(ctx)
	if err != nil {
		return err
	}
	groups, err := l.committed(ctx)
	if err != nil {
		return err
	}
	expect(groups, l.readers)
	floor := func(p logfiles.Partition) int64 {
		return l.pastMarks(p, all[p], end[p], floorOf(p, end[p], groups))
	}
	plan, freed := planTrim(all, floor, end, excess)
	if len(plan) == 0 {
		return nil
	}
	if err := withSpare(l.dir, func() error { return writeWatermarks(l.dir, end) }); err != nil {
		return err
	}
	offsets := make(kadm.Offsets)
	for p, before := range plan {
		offsets.AddOffset(p.Topic, p.P, before, -1)
	}
	deleted, err := l.admin.DeleteRecords(ctx, offsets)
	if err = errors.Join(err, deleted.Error()); err != nil {
		return fmt.Errorf("trim the embedded log: %w", err)
	}
	l.logger.Info("trimmed the embedded log", "bytes", freed, "partitions", len(plan))
	return nil
}

// pastMarks is the floor of p after the end marks that may be all that is left before its end. A
// segment that cannot be read moves nothing.
func (l *logServer) pastMarks(p logfiles.Partition, of []logfiles.Segment, end, floor int64) int64 {
	if floor == end || end-floor > maxMarks {
		return floor
	}
	for i, seg := range of {
		if seg.Base > floor || (i+1 < len(of) && of[i+1].Base <= floor) {
			continue
		}
		batches, err := logfiles.ReadBatches(logfiles.PartitionDir(logDir(l.dir), p), seg.Base)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			l.logger.Warn("read a segment", "error", err)
		}
		floor = pastMarks(floor, batches)
	}
	return floor
}

// ends are the high watermarks of all partitions.
func (l *logServer) ends(ctx context.Context) (map[logfiles.Partition]int64, error) {
	listed, err := l.admin.ListEndOffsets(ctx)
	if err = errors.Join(err, listed.Error()); err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	return offsetsOf(listed), nil
}

func offsetsOf(listed kadm.ListedOffsets) map[logfiles.Partition]int64 {
	offsets := make(map[logfiles.Partition]int64)
	listed.Each(func(o kadm.ListedOffset) { offsets[logfiles.Partition{Topic: o.Topic, P: o.Partition}] = o.Offset })
	return offsets
}

// committed are the places of all groups, by name.
func (l *logServer) committed(ctx context.Context) (map[string]committed, error) {
	places, err := l.places(ctx)
	if err != nil {
		return nil, err
	}
	groups := make(map[string]committed)
	for _, p := range places {
		if groups[p.Group] == nil {
			groups[p.Group] = make(committed)
		}
		groups[p.Group][logfiles.Partition{Topic: p.Topic, P: p.Partition}] = p.Offset
	}
	return groups, nil
}

// places are where the readers of all groups are, in order.
func (l *logServer) places(ctx context.Context) ([]logfiles.Place, error) {
	listed, err := l.admin.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	var places []logfiles.Place
	for _, r := range l.admin.FetchManyOffsets(ctx, listed.Groups()...) {
		if r.Err != nil {
			return nil, fmt.Errorf("fetch offsets of group %s: %w", r.Group, r.Err)
		}
		r.Fetched.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil && o.At >= 0 {
				places = append(places, logfiles.Place{Group: r.Group, Topic: o.Topic, Partition: o.Partition, Offset: o.At, Metadata: &o.Metadata})
			}
		})
	}
	slices.SortFunc(places, func(a, b logfiles.Place) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return places, nil
}
