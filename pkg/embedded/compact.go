package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

// keepCompacted compacts when the compacted topics have doubled since the last time, and applies
// the topics' retention by time each hour; the broker does both in one call.
func (l *logServer) keepCompacted(ctx context.Context, all logfiles.Segments) error {
	due := time.Since(l.retainedAt) >= retainEvery
	// Without any topic's size past the growth there is nothing to ask the broker about.
	if !due && all.Size() < l.compactedSize+compactGrowth {
		return nil
	}
	compacted, err := l.compactedTopics(ctx)
	if err != nil {
		return err
	}
	parts := compactedParts(all, compacted)
	size := parts.Size()
	if !due && size < 2*l.compactedSize+compactGrowth {
		return nil
	}
	if open, err := l.inTransaction(ctx, parts); err != nil || open {
		return err // the next second will do
	}
	return l.compact(ctx, parts, compacted)
}

// compact compacts and applies retention so that a crash at any moment loses nothing: what may
// become empty has its end written down, what is rewritten is kept aside until it is whole.
func (l *logServer) compact(ctx context.Context, parts logfiles.Segments, compacted map[string]bool) error {
	end, err := l.ends(ctx)
	if err != nil {
		return err
	}
	if err := writeWatermarks(l.dir, end); err != nil {
		return err
	}
	if err := keepAside(l.dir, parts); err != nil {
		return err
	}
	l.cluster.Compact()
	if err := os.RemoveAll(asideDir(l.dir)); err != nil {
		return err
	}
	after, err := logfiles.Read(logDir(l.dir))
	if err != nil {
		return err
	}
	l.compactedSize, l.retainedAt = compactedParts(after, compacted).Size(), time.Now()
	l.logger.Info("compacted the embedded log", "bytes_before", parts.Size(), "bytes_after", l.compactedSize)
	return nil
}

// compactedTopics are the topics with cleanup.policy=compact.
func (l *logServer) compactedTopics(ctx context.Context) (map[string]bool, error) {
	names, err := l.admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	configs, err := l.admin.DescribeTopicConfigs(ctx, names.Names()...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	compacted := make(map[string]bool)
	for _, topic := range configs {
		if topic.Err != nil {
			return nil, fmt.Errorf("describe topic %s: %w", topic.Name, topic.Err)
		}
		for _, c := range topic.Configs {
			if c.Key == "cleanup.policy" && strings.Contains(c.MaybeValue(), "compact") {
				compacted[topic.Name] = true
			}
		}
	}
	return compacted, nil
}

func compactedParts(all logfiles.Segments, compacted map[string]bool) logfiles.Segments {
	parts := make(logfiles.Segments)
	for p, of := range all {
		if compacted[p.Topic] {
			parts[p] = of
		}
	}
	return parts
}

// inTransaction tells whether a partition has an open transaction. The broker would take its
// records for the newest of their keys, and lose the older ones if it is then aborted.
func (l *logServer) inTransaction(ctx context.Context, parts logfiles.Segments) (bool, error) {
	end, err := l.ends(ctx)
	if err != nil {
		return false, err
	}
	stable, err := l.admin.ListCommittedOffsets(ctx)
	if err = errors.Join(err, stable.Error()); err != nil {
		return false, fmt.Errorf("list stable offsets: %w", err)
	}
	for p, offset := range offsetsOf(stable) {
		if _, ok := parts[p]; ok && offset < end[p] {
			return true, nil
		}
	}
	return false, nil
}

// asideDir holds hard links to the files that a compaction replaces, while it goes on.
func asideDir(dir string) string { return filepath.Join(dir, "log-compacting") }

// keepAside links the files of parts. The directory has its name only once it is whole.
func keepAside(dir string, parts logfiles.Segments) error {
	tmp := asideDir(dir) + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	for p := range parts {
		from := logfiles.PartitionDir(logDir(dir), p)
		to := filepath.Join(tmp, filepath.Base(from))
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		if err := linkSegments(from, to); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	return os.Rename(tmp, asideDir(dir))
}

func linkSegments(from, to string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if ext := filepath.Ext(f.Name()); ext != ".dat" && ext != ".idx" {
			continue
		}
		if err := os.Link(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// undoCompaction mends a compaction that a crash cut short: a partition whose files do not reach
// as far as those kept aside gets these back. It must run before the broker starts.
func undoCompaction(dir string) error {
	if err := os.RemoveAll(asideDir(dir) + ".tmp"); err != nil {
		return err
	}
	aside, err := os.ReadDir(asideDir(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range aside {
		if err := putBack(filepath.Join(asideDir(dir), d.Name()), filepath.Join(logDir(dir), "partitions", d.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(asideDir(dir))
}

// putBack replaces the files in part by those kept aside, unless part reaches as far. The files
// are linked, not moved, so that a crash here finds them again.
func putBack(aside, part string) error {
	want, err := logfiles.End(aside)
	if err != nil {
		return err
	}
	have, err := logfiles.End(part)
	if err != nil || have >= want {
		return err
	}
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.MkdirAll(part, 0o700); err != nil {
		return err
	}
	return linkSegments(aside, part)
}
