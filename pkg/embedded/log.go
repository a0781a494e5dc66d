package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
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
}

// openLog mends what a crash left, starts the broker on 127.0.0.1 and connects to it.
func openLog(cfg Config) (*logServer, error) {
	l := &logServer{
		dir: cfg.Dir, bound: cfg.LogMaxBytes, logger: cfg.Logger,
		kept: make(map[string]bool), readers: cfg.Readers, retainedAt: time.Now().Add(firstRetain - retainEvery),
	}
	for _, t := range cfg.Kept {
		l.kept[t] = true
	}
	if err := errors.Join(undoCompaction(cfg.Dir), raiseWatermarks(cfg.Dir)); err != nil {
		return nil, fmt.Errorf("mend the embedded log in %s: %w", cfg.Dir, err)
	}
	var err error
	if l.cluster, err = kfake.NewCluster(brokerOptions(cfg)...); err != nil {
		return nil, fmt.Errorf("start the embedded log in %s: %w", cfg.Dir, err)
	}
	l.client, err = kgo.NewClient(kgo.SeedBrokers(l.cluster.ListenAddrs()...), kgo.ClientID("doorstep-embedded"))
	if err != nil {
		l.cluster.Close()
		return nil, fmt.Errorf("connect to the embedded log: %w", err)
	}
	l.admin = kadm.NewClient(l.client)
	return l, nil
}

func brokerOptions(cfg Config) []kfake.Opt {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DataDir(logDir(cfg.Dir)),
		kfake.ClusterID("doorstep"),
		kfake.WithLogger(brokerLog{cfg.Logger}),
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

// close writes the log's state down; a start after it is quicker than after a crash.
func (l *logServer) close() {
	l.client.Close()
	l.cluster.Close()
}

// keep brings the log within its bound, or as low as it can when the disk is short. It returns
// the size after that and what was trimmed, in bytes, also when it errs.
func (l *logServer) keep(ctx context.Context, diskShort bool) (size, trimmed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	all, err := readSegments(logDir(l.dir))
	if err != nil {
		return 0, 0, err
	}
	size = all.size()
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
	after, err := readSegments(logDir(l.dir))
	if err != nil {
		return size, 0, err
	}
	return after.size(), max(0, size-after.size()), nil
}

// trim deletes excess bytes of read records, if there are as many.
func (l *logServer) trim(ctx context.Context, all segments, excess int64) error {
	compacted, err := l.compactedTopics(ctx)
	if err != nil {
		return err
	}
	for p := range all {
		if compacted[p.topic] || l.kept[p.topic] {
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
	floor := func(p partition) int64 {
		return l.pastMarks(p, all[p], end[p], floorOf(p, end[p], groups))
	}
	plan, freed := planTrim(all, floor, end, excess)
	if len(plan) == 0 {
		return nil
	}
	if err := writeWatermarks(l.dir, end); err != nil {
		return err
	}
	offsets := make(kadm.Offsets)
	for p, before := range plan {
		offsets.AddOffset(p.topic, p.p, before, -1)
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
func (l *logServer) pastMarks(p partition, of []segment, end, floor int64) int64 {
	if floor == end || end-floor > maxMarks {
		return floor
	}
	for i, seg := range of {
		if seg.base > floor || (i+1 < len(of) && of[i+1].base <= floor) {
			continue
		}
		batches, err := readBatches(partitionDir(logDir(l.dir), p), seg.base)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			l.logger.Warn("read a segment", "error", err)
		}
		floor = pastMarks(floor, batches)
	}
	return floor
}

// ends are the high watermarks of all partitions.
func (l *logServer) ends(ctx context.Context) (map[partition]int64, error) {
	listed, err := l.admin.ListEndOffsets(ctx)
	if err = errors.Join(err, listed.Error()); err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	return offsetsOf(listed), nil
}

func offsetsOf(listed kadm.ListedOffsets) map[partition]int64 {
	offsets := make(map[partition]int64)
	listed.Each(func(o kadm.ListedOffset) { offsets[partition{o.Topic, o.Partition}] = o.Offset })
	return offsets
}

// committed are the places of all groups, by name.
func (l *logServer) committed(ctx context.Context) (map[string]committed, error) {
	listed, err := l.admin.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	groups := make(map[string]committed)
	for _, r := range l.admin.FetchManyOffsets(ctx, listed.Groups()...) {
		if r.Err != nil {
			return nil, fmt.Errorf("fetch offsets of group %s: %w", r.Group, r.Err)
		}
		of := make(committed)
		r.Fetched.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil && o.At >= 0 {
				of[partition{o.Topic, o.Partition}] = o.At
			}
		})
		groups[r.Group] = of
	}
	return groups, nil
}

// brokerLog passes the broker's warnings on; it tells each request at the levels below.
type brokerLog struct{ log *slog.Logger }

func (b brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		b.log.Error("embedded log: " + fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		b.log.Warn("embedded log: " + fmt.Sprintf(format, args...))
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
	}
}
