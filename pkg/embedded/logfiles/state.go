package logfiles

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// topic is what the mender needs of one.
type topic struct {
	partitions int32
	compacted  bool
}

type topics map[string]topic

// partitions are all of the topics', in order.
func (t topics) partitions() []Partition {
	var all []Partition
	for name, topic := range t {
		for p := range topic.partitions {
			all = append(all, Partition{name, p})
		}
	}
	slices.SortFunc(all, func(a, b Partition) int { return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.P, b.P)) })
	return all
}

// ParseTopics errs unless raw is a whole topics.json. It returns how many topics it names.
func ParseTopics(raw []byte) (int, error) {
	t, err := parseTopics(raw)
	return len(t), err
}

func parseTopics(raw []byte) (topics, error) {
	var file struct {
		Version int `json:"version"`
		Topics  []struct {
			Name       string            `json:"name"`
			Partitions int32             `json:"partitions"`
			Configs    map[string]string `json:"configs"`
		} `json:"topics"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, err
	}
	all := make(topics, len(file.Topics))
	for _, t := range file.Topics {
		if t.Name == "" || t.Partitions < 1 || t.Partitions > 10_000 {
			return nil, fmt.Errorf("topic %q has %d partitions", t.Name, t.Partitions)
		}
		all[t.Name] = topic{t.Partitions, strings.Contains(t.Configs["cleanup.policy"], "compact")}
	}
	return all, nil
}

// covers tells whether every partition that has files is one of a topic.
func (t topics) covers(all Segments) bool {
	for p := range all {
		if p.P >= t[p.Topic].partitions {
			return false
		}
	}
	return true
}

// clusterMeta is kfake's meta.json. Its version is that of all its files.
type clusterMeta struct {
	Version   int    `json:"version"`
	ClusterID string `json:"cluster_id"`
}

// formatVersion is kfake's currentPersistVersion.
const formatVersion = 1

// mendState mends the JSON files above the partitions, which are all. Topics are nil for a log that has
// not begun.
func (m *mender) mendState(all Segments) (topics, error) {
	if err := m.dropUnreadable(); err != nil {
		return nil, err
	}
	t, err := m.mendTopics(all)
	if err != nil || t == nil {
		return nil, err
	}
	return t, m.mendMeta()
}

// mendMeta writes meta.json anew where it cannot be read: without it the broker would begin an empty log.
func (m *mender) mendMeta() error {
	file := filepath.Join(m.log, "meta.json")
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var meta clusterMeta
	if bad := json.Unmarshal(raw, &meta); bad == nil && meta.Version == formatVersion {
		return nil
	}
	if meta.Version > formatVersion && meta.Version < 1000 {
		return fmt.Errorf("%s was written by a newer doorstep (format %d, this one knows %d)", m.short(file), meta.Version, formatVersion)
	}
	out, err := json.Marshal(clusterMeta{formatVersion, "doorstep"})
	if err != nil {
		return err
	}
	m.tell(false, "%s: was missing or damaged, and is made anew", m.short(file))
	return replace(file, out)
}

// mendTopics reads topics.json, or puts the copy back where it cannot be read or lacks a topic that has
// files. Nil and no error: there is no log yet.
func (m *mender) mendTopics(all Segments) (topics, error) {
	file := filepath.Join(m.log, "topics.json")
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	t, bad := parseTopics(raw)
	if bad == nil && t.covers(all) {
		return t, nil
	}
	copied, badCopy := parseTopics(m.known.Topics)
	if badCopy == nil && len(copied) > 0 && (bad != nil || copied.covers(all)) && !bytes.Equal(raw, m.known.Topics) {
		m.tell(false, "%s: was missing or damaged, and is put back from its copy", m.short(file))
		return copied, replace(file, m.known.Topics)
	}
	switch {
	case bad == nil:
		return t, nil // what belongs to no topic is told of
	case len(all) == 0 && (err != nil || len(raw) == 0):
		return nil, remove(filepath.Join(m.log, "meta.json")) // the first start was cut short
	}
	return nil, fmt.Errorf("%s is missing or damaged, and so is its copy: put both back from a backup", m.short(file))
}

// dropUnreadable removes files that the broker can do without and would not start with.
func (m *mender) dropUnreadable() error {
	for _, name := range []string{"acls.json", "sasl.json", "quotas.json", "broker_configs.json", "seq_windows.json", "session_state.json"} {
		file := filepath.Join(m.log, name)
		raw, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var object map[string]any
		if json.Unmarshal(raw, &object) == nil {
			continue
		}
		m.tell(false, "%s: was damaged, and is left out", m.short(file))
		if err := remove(file); err != nil {
			return err
		}
	}
	return nil
}

// snapshot is what must be right in a partition's snapshot.json; the broker itself compares its segments.
type snapshot struct {
	Version          int   `json:"version"`
	HighWatermark    int64 `json:"high_watermark"`
	LastStableOffset int64 `json:"last_stable_offset"`
	LogStartOffset   int64 `json:"log_start_offset"`
	Epoch            int32 `json:"epoch"`
	Leader           int32 `json:"leader_node"`
}

// checkSnapshot removes a partition's snapshot that does not fit its end: the broker then reads the segments.
func (m *mender) checkSnapshot(dir string, end int64) error {
	file := filepath.Join(dir, "snapshot.json")
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s snapshot
	if json.Unmarshal(raw, &s) == nil && s.HighWatermark == end && s.LastStableOffset >= 0 && s.LastStableOffset <= end &&
		s.LogStartOffset >= 0 && s.LogStartOffset <= end && s.Epoch == 0 && s.Leader == 0 {
		return nil
	}
	return remove(file) // as after every crash, so nothing to tell
}
