package obs

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// SayAgain is how often the log tells of what fails, or is waited for, again and again.
const SayAgain = 30 * time.Second

// Seldom tells of what may fail many times a second: at once, and then each SayAgain with how often it was in between.
// In a log of level debug every time is told. The zero Seldom is ready; it is safe for concurrent use.
type Seldom struct {
	mu   sync.Mutex
	said map[string]*since // by message
}

// since is what became of a message since it was last told.
type since struct {
	at    time.Time
	times int
}

// Warn logs a message of which there are few; what it is about this time is in args.
func (s *Seldom) Warn(ctx context.Context, log *slog.Logger, msg string, args ...any) {
	s.log(ctx, log, slog.LevelWarn, time.Now(), msg, args)
}

// Error is Warn for what somebody must see to.
func (s *Seldom) Error(ctx context.Context, log *slog.Logger, msg string, args ...any) {
	s.log(ctx, log, slog.LevelError, time.Now(), msg, args)
}

func (s *Seldom) log(ctx context.Context, log *slog.Logger, level slog.Level, now time.Time, msg string, args []any) {
	times, due := s.due(msg, now)
	if !due {
		level = slog.LevelDebug
	}
	if times > 0 {
		args = append(slices.Clip(args), "before", times)
	}
	log.Log(ctx, level, msg, args...)
}

// due reports whether a message is to be told now, and how often it was not since it was told last.
func (s *Seldom) due(msg string, now time.Time) (times int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said == nil {
		s.said = map[string]*since{}
	}
	last := s.said[msg]
	if last != nil && now.Sub(last.at) < SayAgain {
		last.times++
		return 0, false
	}
	if last != nil {
		times = last.times
	}
	s.said[msg] = &since{at: now}
	return times, true
}
