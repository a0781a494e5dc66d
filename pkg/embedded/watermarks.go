package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// watermark is the high watermark of a partition as it is written down.
type watermark struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func watermarksFile(dir string) string { return filepath.Join(dir, "log-watermarks.json") }

// writeWatermarks notes where partitions end, before some of them may become empty.
func writeWatermarks(dir string, end map[partition]int64) error {
	var marks []watermark
	for p, offset := range end {
		if offset > 0 {
			marks = append(marks, watermark{p.topic, p.p, offset})
		}
	}
	b, err := json.Marshal(marks)
	if err != nil {
		return err
	}
	return writeFile(watermarksFile(dir), b)
}

// raiseWatermarks gives emptied partitions back the offset that they had reached. It must run
// before the broker starts. A partition with records knows its own end.
func raiseWatermarks(dir string) error {
	b, err := os.ReadFile(watermarksFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var marks []watermark
	if err := json.Unmarshal(b, &marks); err != nil {
		return fmt.Errorf("%s: %w", watermarksFile(dir), err)
	}
	for _, m := range marks {
		part := partitionDir(logDir(dir), partition{m.Topic, m.Partition})
		end, err := endOffset(part)
		if err != nil {
			return err
		}
		if end == 0 {
			if err := startAt(part, m.Offset); err != nil {
				return err
			}
		}
	}
	return nil
}

// snapshot is the part of kfake's snapshot.json that an empty partition needs.
type snapshot struct {
	Version          int               `json:"version"`
	HighWatermark    int64             `json:"high_watermark"`
	LastStableOffset int64             `json:"last_stable_offset"`
	LogStartOffset   int64             `json:"log_start_offset"`
	CreatedAt        time.Time         `json:"created_at"`
	Segments         []snapshotSegment `json:"segments"`
}

type snapshotSegment struct {
	BaseOffset int64 `json:"base_offset"`
	Size       int64 `json:"size"`
}

// snapshotVersion is kfake's currentPersistVersion.
const snapshotVersion = 1

// startAt makes an empty partition begin at offset: one empty segment, and a snapshot that agrees
// with it, which kfake then believes.
func startAt(part string, offset int64) error {
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.MkdirAll(part, 0o700); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(part, strconv.FormatInt(offset, 10)+".dat"), nil); err != nil {
		return err
	}
	b, err := json.Marshal(snapshot{
		Version: snapshotVersion, HighWatermark: offset, LastStableOffset: offset, LogStartOffset: offset,
		CreatedAt: time.Now(), Segments: []snapshotSegment{{BaseOffset: offset}},
	})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(part, "snapshot.json"), b)
}
