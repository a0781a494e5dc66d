package redisstate

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogTo sends what the Redis client says by itself to log, at level debug: that Redis is away is told by those who
// use it. A program calls it once, at its start; the client has one logger for all.
func LogTo(log *slog.Logger) { redis.SetLogger(library{log}) }

type library struct{ log *slog.Logger }

// Printf logs the words and leaves out what they are about: it may be a part of a reply.
func (l library) Printf(ctx context.Context, format string, _ ...any) {
	l.log.DebugContext(ctx, "the redis client says", "text", format)
}
