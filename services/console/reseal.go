package console

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

const (
	resealLock = "reseal"
	resealPage = 200
	// resealAgain follows a pass that changed something, failed or was another console's, and the first one: by then the
	// process that this one replaces, which may have sealed with another key, has ended.
	resealAgain = 2 * time.Minute
	// resealEvery is how often secrets are counted once they are settled.
	resealEvery = time.Hour
	resealTime  = 10 * time.Minute
)

// notHere is the label of all keys that the settings do not name. It cannot be the id of one.
const notHere = "not here"

// resealer seals what is not sealed with the key in force, after a start, and counts what is sealed with which
// key.
//
// Changes are made after a start alone, until a pass, though not the first, finds nothing to do. Consoles that
// are restarted one by one with other keys in force would undo one another's work for ever if each went on.
type resealer struct {
	webhooks *prometheus.GaugeVec // by key

	mu      sync.Mutex // held for a pass
	passes  int        // that came to their end
	settled bool
	told    bool // which keys may go
}

func newResealer() resealer {
	return resealer{webhooks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "doorstep_console_webhooks_sealed", Help: "Webhooks that have secrets sealed with a key, by its id: plain if they are not sealed, \"not here\" if the settings have no such key.",
	}, []string{"key"})}
}

// resealed is what one pass has found.
type resealed struct {
	changed    int            // webhooks that were sealed with the key in force
	unreadable int            // webhooks with secrets that cannot be read here
	uses       map[string]int // webhooks by the ids of the keys of their secrets, as they are then
}

// readKeys reads the sealing keys and says what the operator should know of them.
func (s *Service) readKeys() (err error) {
	var warning string
	if s.sealing, warning, err = s.cfg.Sealing.Read(); err != nil {
		return err
	}
	if warning != "" {
		s.log.Warn(warning)
	}
	if s.cfg.Sealing.Given() {
		return nil
	}
	const plain = "no sealing key is set: webhooks' secrets and header values are stored as they are; " +
		"`doorstep sealing-key` makes a key, DOORSTEP_SEALING_KEYS gives it to senders and consoles"
	if s.cfg.SQL.PostgresURL == "" {
		s.log.Info(plain)
	} else {
		s.log.Warn(plain)
	}
	return nil
}

// keepSealed makes passes until ctx ends.
func (s *Service) keepSealed(ctx context.Context) {
	for wait(ctx, s.reseal(ctx), nil) {
	}
}

// reseal makes one pass, unless another console is at it, and returns how long the next can wait.
func (s *Service) reseal(ctx context.Context) time.Duration {
	r := &s.resealer
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, resealTime)
	defer cancel()
	found, held, err := s.resealAll(ctx, !r.settled)
	if err != nil && ctx.Err() == nil {
		s.seldom.Warn(ctx, s.log, "secrets were not all sealed with the key in force; trying again", "error", err)
	}
	if err != nil || !held {
		return resealAgain
	}
	r.settled = r.settled || r.passes > 0 && found.changed == 0
	r.passes++
	r.count(found, s.sealing.IDs())
	s.tellResealed(ctx, found)
	if !r.settled || !s.tellSpare(ctx, found) {
		return resealAgain
	}
	return resealEvery
}

// resealAll goes through all webhooks, and if change is set seals what is not sealed with the key in force. held
// is false if another console is at it.
func (s *Service) resealAll(ctx context.Context, change bool) (found resealed, held bool, err error) {
	found.uses = map[string]int{}
	store, err := s.sql()
	if err != nil {
		return found, false, err
	}
	lock, held, err := store.TryLock(ctx, resealLock)
	if err != nil || !held {
		return found, held, err
	}
	defer lock.Release()
	for after := ""; ; {
		page, err := store.WebhooksOfAll(ctx, after, resealPage)
		if err != nil {
			return found, true, err
		}
		for _, w := range page {
			if err := s.resealOne(ctx, store, w, change, &found); err != nil {
				return found, true, err
			}
			after = w.ID
		}
		if len(page) < resealPage {
			break
		}
		if err := lock.Held(ctx); err != nil {
			return found, true, err
		}
	}
	if found.changed > 0 {
		err = store.Scrub(ctx)
	}
	return found, true, err
}

// resealOne seals one webhook, at its version, and adds it to what was found. When it was changed is not touched, and
// its generation neither: for everybody else it is the same.
func (s *Service) resealOne(ctx context.Context, store *sqlstore.Store, w webhook.Webhook, change bool, found *resealed) error {
	again := false
	w, err := retried(func() (webhook.Webhook, error) {
		if again {
			var err error
			if w, err = store.Webhook(ctx, w.Tenant, w.ID); err != nil {
				return w, err
			}
		}
		again = true
		sealed, changed, unreadable := s.sealing.Webhook(w, nonce)
		if changed && change {
			stored, err := store.ResealWebhook(ctx, sealed)
			if err != nil {
				return w, err
			}
			w = stored
			found.changed++
		}
		if unreadable != nil {
			found.unreadable++
			s.log.Debug("secrets cannot be read", "webhook", w.ID, "tenant", w.Tenant, "error", unreadable)
		}
		return w, nil
	})
	if errors.Is(err, sqlstore.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err == nil {
		for id := range keysOf(w, time.Now()) {
			found.uses[id]++
		}
	}
	return err
}

// keysOf are the ids of the keys that a webhook's secrets need, without signing keys that have expired.
func keysOf(w webhook.Webhook, now time.Time) map[string]bool {
	ids := map[string]bool{}
	for _, h := range w.Headers {
		ids[h.Value.KeyID] = true
	}
	for _, k := range w.SigningKeys {
		if !expired(k, now) {
			ids[k.Secret.KeyID] = true
		}
	}
	return ids
}

// count shows what was found as metrics. ids are the keys of the settings.
func (r *resealer) count(found resealed, ids []string) {
	counts := map[string]int{webhook.PlainKeyID: 0, notHere: 0}
	for _, id := range ids {
		counts[id] = 0
	}
	for id, n := range found.uses {
		if _, known := counts[id]; !known {
			id = notHere
		}
		counts[id] += n
	}
	for id, n := range counts {
		r.webhooks.WithLabelValues(id).Set(float64(n))
	}
}

func (s *Service) tellResealed(ctx context.Context, found resealed) {
	if found.changed > 0 {
		s.log.Info("secrets sealed with the key in force", "webhooks", found.changed, "key", s.sealing.Current())
	}
	if found.unreadable > 0 {
		s.log.ErrorContext(ctx, "secrets of webhooks cannot be read, and their deliveries wait: give senders and consoles the keys, or rotate the secrets and give the headers anew",
			"webhooks", found.unreadable, "keys_here", strings.Join(s.sealing.IDs(), " "), "keys_in_use", strings.Join(slices.Sorted(maps.Keys(found.uses)), " "))
	}
}

// tellSpare names, once, the keys of the settings that no webhook needs any more. It reports false while that is not
// certain: the log may still hold what was sealed with them.
func (s *Service) tellSpare(ctx context.Context, found resealed) bool {
	spare := spareKeys(s.sealing.IDs(), found.uses)
	if len(spare) == 0 || s.resealer.told {
		return true
	}
	store, err := s.sql()
	if err != nil {
		return false
	}
	if waiting, err := store.Changes(ctx, 1); err != nil || len(waiting) > 0 {
		return false
	}
	s.log.Info("sealing keys that no webhook needs any more; once every console runs with these settings they may be removed from the settings of all services",
		"keys", strings.Join(spare, " "), "key_in_force", s.sealing.Current())
	s.resealer.told = true
	return true
}

// spareKeys are the ids, but for the first, that nothing uses.
func spareKeys(ids []string, uses map[string]int) (spare []string) {
	for i, id := range ids {
		if i > 0 && uses[id] == 0 {
			spare = append(spare, id)
		}
	}
	return spare
}
