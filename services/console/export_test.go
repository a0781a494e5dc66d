package console

import (
	"context"
	"time"
)

// TellExpiry is what the console does each hour, by another clock.
func (s *Service) TellExpiry(ctx context.Context, now time.Time) error { return s.tellExpiry(ctx, now) }
