package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds and their defaults.
const (
	// DefaultLogMaxBytes bounds the log when nothing else is said.
	DefaultLogMaxBytes = 256 << 20
	// MinLogMaxBytes is the smallest bound that leaves segments of a useful size.
	MinLogMaxBytes = 16 << 20
	// MinFreeDisk is the free disk below which nothing new is taken in.
	MinFreeDisk = 256 << 20

	keepEvery = time.Second
)

// Config says which stores to embed and within which bounds.
type Config struct {
	// Dir is the data directory, of the log and of SQL. Needed for either.
	Dir string
	// Log, Redis and SQL embed the store of that name.
	Log, Redis, SQL bool
	// CheckSQL errs in one line if the files at SQLPath and HistoryPath, as far as they are there, cannot be used. It is asked
	// before anything of the directory is changed. Default: all can.
	CheckSQL func(ctx context.Context, sql, history string) error
	// LogMaxBytes bounds the log's files on disk. Default DefaultLogMaxBytes, at least MinLogMaxBytes.
	LogMaxBytes int64
	// LogSync writes every record through to the disk before it is acknowledged. Without it a power
	// cut may lose the last seconds; a killed process loses nothing either way.
	LogSync bool
	// Readers are the topics that groups read, by group, as far as that must be known before they have
	// committed anything: what such a group has not read is not trimmed, however long it takes.
	Readers map[string][]string
	// Kept are the topics that the bound does not trim, although groups have read them: what people
	// may still release. Retention by time holds for them too.
	Kept []string
	// Logger tells of trimming and of refusals. Default: none.
	Logger *slog.Logger
	// Metrics registers doorstep_embedded_*. Default: none.
	Metrics prometheus.Registerer

	room func(dir string) error // errs while the log may not be written to; default diskRoom
}

func (c Config) withDefaults() (Config, error) {
	if c.LogMaxBytes == 0 {
		c.LogMaxBytes = DefaultLogMaxBytes
	}
	if c.room == nil {
		c.room = diskRoom
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	switch {
	case (c.Log || c.SQL) && c.Dir == "":
		return c, errors.New("data directory: empty; name one with --data")
	case c.Log && c.LogMaxBytes < MinLogMaxBytes:
		return c, fmt.Errorf("log bound of %s: want at least %s", mib(c.LogMaxBytes), mib(MinLogMaxBytes))
	}
	return c, nil
}

// Servers are the embedded stores of one process.
type Servers struct {
	cfg     Config
	dir     *dataDir // nil when nothing is kept on disk
	log     *logServer
	redis   *redisServer
	metrics *metrics

	limit atomic.Pointer[limits] // asked for every event, so without a lock

	notKept string // why the log was not kept the last time

	closeOnce sync.Once
}

// Open starts what cfg asks for, on loopback addresses that it chooses. It refuses a data directory
// that another process uses or that a newer version has written. Run must run for the stores to
// stay healthy; Close ends them if Run never ran.
func Open(ctx context.Context, cfg Config) (*Servers, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Servers{cfg: cfg, metrics: newMetrics(cfg.Metrics)}
	s.limit.Store(&limits{})
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Servers) open(ctx context.Context) (err error) {
	if s.cfg.Log || s.cfg.SQL {
		if s.dir, err = openDataDir(s.cfg.Dir); err != nil {
			return err
		}
	}
	if s.cfg.SQL {
		if err := s.checkSQL(ctx); err != nil {
			return err
		}
	}
	if s.cfg.Redis {
		if s.redis, err = openRedis(time.Now()); err != nil {
			return err
		}
	}
	if s.cfg.Log {
		if s.log, err = openLog(s.cfg); err != nil {
			return err
		}
	}
	if s.cfg.SQL { // now that nothing can refuse the directory any more
		if err := dropMigrationLocks(s.cfg.Dir); err != nil {
			return err
		}
	}
	s.keep(ctx)
	return nil
}

// checkSQL errs if a database is missing or cannot be used.
func (s *Servers) checkSQL(ctx context.Context) error {
	if err := checkDatabases(s.cfg.Dir); err != nil || s.cfg.CheckSQL == nil {
		return err
	}
	err := s.cfg.CheckSQL(ctx, s.SQLPath(), s.HistoryPath())
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return dirError(s.cfg.Dir, err)
	}
	return err
}

// Brokers are the addresses of the embedded log, nil if it is not embedded.
func (s *Servers) Brokers() []string {
	if s.log == nil {
		return nil
	}
	return s.log.cluster.ListenAddrs()
}

// RedisURL is the address of the embedded Redis (redis://127.0.0.1:port), empty if it is not embedded.
func (s *Servers) RedisURL() string {
	if s.redis == nil {
		return ""
	}
	return s.redis.url()
}

// SQLPath is where the SQLite file belongs, empty if SQL is not embedded. Nothing is opened there.
func (s *Servers) SQLPath() string { return s.sqlPath("doorstep.db") }

// HistoryPath is where the history's SQLite file belongs: one of its own, so that whoever writes the history
// and whoever changes a webhook do not wait for each other. Empty if SQL is not embedded.
func (s *Servers) HistoryPath() string { return s.sqlPath("history.db") }

func (s *Servers) sqlPath(file string) string {
	if !s.cfg.SQL {
		return ""
	}
	return filepath.Join(s.cfg.Dir, file)
}

// Room says why nothing may be published now, or nil. It is measured each second and costs nothing
// to ask.
func (s *Servers) Room() error {
	l := s.limit.Load()
	return cmp.Or(l.disk, l.log)
}

// RoomToMatch says why nothing may be matched now, or nil. It heeds the disk alone: a matcher that
// stopped at the log's bound would never let the events behind it be trimmed.
func (s *Servers) RoomToMatch() error {
	return s.limit.Load().disk
}

// Run keeps the stores until ctx ends, then closes them. It should be the last to stop. It errs when the log
// could not be written to; nothing works any more then, see Failed.
func (s *Servers) Run(ctx context.Context) error {
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		s.keepOn(ctx)
	}()
	select {
	case <-ctx.Done():
		<-kept
		return nil
	case <-s.Failed():
		return s.Err() // without waiting: what asks the broker waits for ever
	}
}

func (s *Servers) keepOn(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.keep(ctx)
		}
	}
}

// Failed is closed once a write to the log has failed. The log answers nobody any more, since what it would
// acknowledge might be lost: the process should end at once, without waiting for anything that uses the
// log, and start again where there is room.
func (s *Servers) Failed() <-chan struct{} {
	if s.log == nil {
		return nil
	}
	return s.log.broker.failed
}

// Err is why the log has stopped, in one line; nil while it has not.
func (s *Servers) Err() error {
	select {
	case <-s.Failed():
		return fmt.Errorf("data directory %s: the log could not be written to and has stopped (%w); nothing that was acknowledged is lost: see that the disk can be written to, and start again", s.cfg.Dir, s.log.broker.err)
	default:
		return nil
	}
}

// Close writes down the log's state, ends the stores and frees the data directory.
func (s *Servers) Close() {
	s.closeOnce.Do(func() {
		if s.dir != nil && s.cfg.SQL {
			_ = noteDatabases(s.cfg.Dir) // who stops in the first second has noted nothing yet
		}
		if s.log != nil {
			s.log.close()
		}
		if s.redis != nil {
			s.redis.close()
		}
		if s.dir != nil {
			s.dir.close()
		}
	})
}

// keep does each second's duties.
func (s *Servers) keep(ctx context.Context) {
	if s.redis != nil {
		s.redis.advance(time.Now())
	}
	if s.dir == nil {
		return
	}
	var now limits
	free, err := freeDisk(s.cfg.Dir)
	if err != nil {
		now.disk = err
	} else {
		now.disk = diskLimit(s.cfg.Dir, free)
		s.metrics.free.Set(float64(free))
	}
	if now.disk == nil {
		err = keepSpare(s.cfg.Dir)
		if s.cfg.SQL && err == nil {
			err = noteDatabases(s.cfg.Dir)
		}
		if err != nil {
			s.cfg.Logger.Warn("write to the data directory", "error", err)
		}
	}
	if s.log != nil {
		size, trimmed, err := s.log.keep(ctx, now.disk != nil)
		s.tellKept(ctx, err)
		now.log = logLimit(size, s.cfg.LogMaxBytes)
		s.metrics.size.Set(float64(size))
		s.metrics.trimmed.Add(float64(trimmed))
	}
	s.tell(now)
}

// tellKept logs why the log is not kept, once for each reason: on a full disk it would be each second.
func (s *Servers) tellKept(ctx context.Context, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != s.notKept && ctx.Err() == nil {
		s.cfg.Logger.Error("keep the log in its bound", "error", err)
	}
	s.notKept = text
}

// tell publishes the limits and logs when one begins or ends to hold.
func (s *Servers) tell(now limits) {
	before := s.limit.Swap(&now)
	for _, l := range []struct{ before, now error }{{before.disk, now.disk}, {before.log, now.log}} {
		switch {
		case l.now != nil && l.before == nil:
			s.cfg.Logger.Error("publishing is refused", "reason", l.now.Error())
		case l.now == nil && l.before != nil:
			s.cfg.Logger.Info("publishing is possible again", "reason", l.before.Error())
		}
	}
}
