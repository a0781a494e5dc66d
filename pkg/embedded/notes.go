package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/embedded/logfiles"
)

// Notes are what is written down of the log beside it, for a start that finds it damaged or emptied: where
// partitions end, where their readers are, and which topics there are.

func watermarksFile(dir string) string { return filepath.Join(dir, "log-watermarks.json") }
func placesFile(dir string) string     { return filepath.Join(dir, "log-places.json") }
func topicsCopy(dir string) string     { return filepath.Join(dir, "log-topics.json") }

// notePlacesEvery is how often the readers' places are written down.
const notePlacesEvery = 10 * time.Second

// watermark is the high watermark of a partition as it is written down.
type watermark struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// writeWatermarks notes where partitions end: before some of them may become empty, and at a stop.
func writeWatermarks(dir string, end map[logfiles.Partition]int64) error {
	var marks []watermark
	for p, offset := range end {
		if offset > 0 {
			marks = append(marks, watermark{p.Topic, p.P, offset})
		}
	}
	b, err := json.Marshal(marks)
	if err != nil {
		return err
	}
	return writeFile(watermarksFile(dir), b)
}

// notePlaces writes down where readers are, if they have moved on.
func (l *logServer) notePlaces(ctx context.Context) error {
	places, err := l.places(ctx)
	if err != nil || len(places) == 0 {
		return err
	}
	b, err := json.Marshal(places)
	if err != nil || bytes.Equal(b, l.notedPlaces) {
		return err
	}
	l.notedPlaces = b
	return writeFile(placesFile(l.dir), b)
}

// noteTopics keeps a copy of the topics' file, which changes when one is made.
func (l *logServer) noteTopics() error {
	file := filepath.Join(logDir(l.dir), "topics.json")
	info, err := os.Stat(file)
	if err != nil || info.ModTime().Equal(l.notedTopics) {
		return err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n, err := logfiles.ParseTopics(raw); err != nil || n == 0 {
		return err
	}
	if err := writeFile(topicsCopy(l.dir), raw); err != nil {
		return err
	}
	l.notedTopics = info.ModTime()
	return nil
}

// readNotes reads what was noted. A note that cannot be read is told of and left out: the log itself says most of it.
func readNotes(dir string, tell func(string)) (logfiles.Known, error) {
	var (
		known logfiles.Known
		marks []watermark
	)
	for path, into := range map[string]any{watermarksFile(dir): &marks, placesFile(dir): &known.Places} {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return known, err
		}
		if err := json.Unmarshal(raw, into); err != nil {
			tell(fmt.Sprintf("%s: was damaged, and is left out", filepath.Base(path)))
		}
	}
	known.Ends = make(map[logfiles.Partition]int64, len(marks))
	for _, m := range marks {
		known.Ends[logfiles.Partition{Topic: m.Topic, P: m.Partition}] = m.Offset
	}
	var err error
	known.Topics, err = os.ReadFile(topicsCopy(dir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return known, err
}

// mendLog mends the log's files and tells what it did, one line for each.
func (l *logServer) mendLog() error {
	known, err := readNotes(l.dir, func(text string) { l.logger.Warn("mended the embedded log", "what", text) })
	if err != nil {
		return err
	}
	found, err := logfiles.Mend(logDir(l.dir), known, time.Now())
	for _, f := range found {
		if f.Lost {
			l.logger.Error("mended the embedded log, with a loss", "what", f.Text, "dir", l.dir)
		} else {
			l.logger.Warn("mended the embedded log", "what", f.Text, "dir", l.dir)
		}
	}
	return err
}
