package console

import (
	"context"
	"maps"
	"slices"
	"time"
)

// TellExpiry is what the console does each hour, by another clock.
func (s *Service) TellExpiry(ctx context.Context, now time.Time) error { return s.tellExpiry(ctx, now) }

// Pages are the patterns of the web console.
func (s *Service) Pages() []string {
	return slices.Sorted(maps.Keys((&web{Service: s}).routes()))
}

// Reseal is what the console does after a start and each hour.
func (s *Service) Reseal(ctx context.Context) time.Duration { return s.reseal(ctx) }

// SetProfile is what applying a profile does to a tenant's name of it.
func (s *Service) SetProfile(ctx context.Context, of, profile string) error {
	store := s.store.Load()
	t, err := store.Tenant(ctx, of)
	if err != nil {
		return err
	}
	t.Profile = profile
	_, err = store.UpdateTenant(ctx, doorstep("test", time.Now()), t)
	return err
}
