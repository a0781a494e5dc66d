package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
)

const (
	// logTime bounds what a request asks of the log at once: less than workTime, so that it can be said which store is away.
	logTime          = 4 * time.Second
	retentionTimeout = 2 * time.Second
	retentionFor     = time.Minute // that a topic's retention is remembered
)

// errGone says that the log does not hold a record any more.
var errGone = errors.New("gone from the log")

// payloads reads records of the log at positions that the history has noted.
type payloads struct {
	reader   *kafka.Reader
	admin    kafka.Admin
	embedded bool
	away     func(ctx context.Context, what string, err error) *Problem // answers where the log is away

	mu        sync.Mutex
	retention map[string]retention // by topic
}

// retention is how long a topic keeps its records, when it was last asked for.
type retention struct {
	words   string // e.g. "7 days"; empty: not known
	askedAt time.Time
}

// read is the record at a position. It errs with errGone, or with a problem if the log is away.
func (p *payloads) read(ctx context.Context, at delivery.Position) (*kgo.Record, error) {
	within, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	records, err := p.reader.ReadAt(within, []delivery.Position{at})
	if err != nil {
		return nil, p.away(ctx, "a record is not read", err)
	}
	if r := records[at]; r != nil {
		return r, nil
	}
	return nil, errGone
}

// readAll are the records at positions; those that are gone are absent.
func (p *payloads) readAll(ctx context.Context, at []delivery.Position) (map[delivery.Position]*kgo.Record, error) {
	if len(at) == 0 {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	records, err := p.reader.ReadAt(within, at)
	if err != nil {
		return nil, p.away(ctx, "records are not read", err)
	}
	return records, nil
}

// gone is the problem that what stood in a topic is there no more.
func (p *payloads) gone(ctx context.Context, what, topic string) *Problem {
	detail := what + " is no longer in the log"
	if kept := p.retentionOf(ctx, topic); kept != "" {
		detail += fmt.Sprintf(", which keeps %s for %s", topic, kept)
	}
	if p.embedded {
		detail += "; an embedded log that has reached its size drops the oldest before that"
	}
	return newProblem(http.StatusGone, detail)
}

// retentionOf asks Kafka how long a topic keeps its records, in words; empty if that cannot be said.
func (p *payloads) retentionOf(ctx context.Context, topic string) string {
	p.mu.Lock()
	was, asked := p.retention[topic]
	p.mu.Unlock()
	now := time.Now()
	if asked && now.Sub(was.askedAt) < retentionFor {
		return was.words
	}
	within, cancel := context.WithTimeout(ctx, retentionTimeout)
	defer cancel()
	configs, err := p.admin.TopicSettings(within, topic)
	if err != nil {
		_ = p.away(ctx, "a topic's retention is not known", err)
		return was.words
	}
	words := ""
	for _, c := range configs {
		for _, kv := range c.Configs {
			if kv.Key == "retention.ms" && kv.Value != nil {
				words = keptFor(*kv.Value)
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retention[topic] = retention{words, now}
	return words
}

// keptFor says a retention.ms in words: "7 days", "36 hours"; empty for none.
func keptFor(ms string) string {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || n < 0 {
		return ""
	}
	d := time.Duration(n) * time.Millisecond
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d < unit.of || d%unit.of != 0 {
			continue
		}
		if n := d / unit.of; n != 1 {
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
		return "1 " + unit.name
	}
	return d.String()
}
