package console

import (
	"context"
	"fmt"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// Codes of the problems that a reactivation meets.
const (
	codeReactivationByHand = "reactivation_by_hand"
	codeDeactivateFirst    = "deactivate_first"
)

// reactivator is who sets a webhook active.
type reactivator int

const (
	byKey     reactivator = iota // a program, with an API key
	byConsole                    // a person, in a session of the web console
)

// setActive activates or deactivates a tenant's webhook as a person does in the web console; one that is so already
// stays as it is. It errs with ErrNotFound, with the 409 of reactivated, and with a 503 while it is not known
// whether the webhook is disabled.
func (s *Service) setActive(ctx context.Context, of, id string, active bool) error {
	store, err := s.sql()
	if err != nil {
		return err
	}
	owner, err := tenantOf(ctx, store, of)
	if err != nil {
		return err
	}
	_, err = retried(func() (webhook.Webhook, error) {
		was, err := readWebhook(ctx, store, owner.ID, id)
		if err != nil {
			return webhook.Webhook{}, err
		}
		w := was
		w.Active = active
		if active {
			if w.Generation, err = s.activated(was, owner, byConsole); err != nil {
				return webhook.Webhook{}, err
			}
		}
		w.Held = s.held(was, w.Active)
		if w.Active == was.Active && w.Generation == was.Generation {
			return was, nil
		}
		w.UpdatedAt = time.Now().UTC()
		return store.UpdateWebhook(ctx, authorOf(ctx), w)
	})
	return err
}

// held says whether a webhook that is inactive is still matched: one that was disabled when it was deactivated, so that
// nothing is missed between the two steps of its reactivation. While that is not known it is held, and the matcher,
// which knows, keeps nothing for one that is not disabled.
func (s *Service) held(was webhook.Webhook, active bool) bool {
	switch {
	case active:
		return false
	case !was.Active:
		return was.Held
	}
	return s.ready(s.states.Ready()) != nil || s.states.Get(was.ID, was.Generation).Disabled
}

// activated is the generation of a webhook that is set active now.
func (s *Service) activated(was webhook.Webhook, of tenant.Tenant, by reactivator) (uint64, error) {
	if err := s.ready(s.states.Ready()); err != nil {
		return 0, err
	}
	return reactivated(was, s.states.Get(was.ID, was.Generation), of.Policy.Reactivation, by, s.pageOf(was.ID))
}

// reactivated is the generation of a webhook that is set active. One that the policy disabled is
// reactivated by hand only, at where in the web console, unless the tenant's setting says "any":
// deactivating and activating it raises the generation, which clears its streak (failure.State.At). One
// that merely was inactive keeps its generation and its streak.
func reactivated(was webhook.Webhook, s failure.State, setting string, by reactivator, where string) (uint64, error) {
	switch {
	case !s.Disabled:
		return was.Generation, nil
	case by == byKey && setting != tenant.ReactivationAny:
		return 0, conflict(codeReactivationByHand, fmt.Sprintf(
			"the webhook was disabled on %s %s; an administrator reactivates it in the web console: %s",
			s.DisabledAt.UTC().Format(time.RFC3339), whyDisabled(s), where))
	case was.Active && by == byConsole:
		return 0, conflict(codeDeactivateFirst, "the webhook is disabled and still active: deactivate it first, then activate it")
	case was.Active:
		return was.Generation, nil
	}
	return was.Generation + 1, nil
}

// whyDisabled says why, as the end of a sentence.
func whyDisabled(s failure.State) string {
	if s.DisableReason == failure.DisabledByGone {
		return "because its receiver answered 410 Gone"
	}
	return fmt.Sprintf("after %d failed attempts in a row", s.FailStreak)
}

// pageOf is where the web console shows a webhook: a URL if the settings say where the console is, else its path.
func (s *Service) pageOf(id string) string { return s.cfg.origin() + webhooksPath + "/" + id }
