package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// resumeOutput is a webhook that was resumed, with where to see how the release of what was suspended goes on.
type resumeOutput struct {
	Location string `header:"Location" doc:"The job that releases what was suspended because of the pause; absent: none could be started, meta.notice says why"`
	ETag     string `header:"ETag"`
	Body     Reply[Webhook]
}

func (s *Service) routeSuspend(api huma.API) {
	add(s, api, route{
		id: "pause-webhook", method: http.MethodPost, path: "webhooks/{id}/pause",
		summary: "Pause a webhook: what is matched, and what is under way to it, is suspended",
		scope:   tenant.ScopeWebhooks, tags: true, problems: []int{404, 409},
	}, s.pauseWebhook)
	add(s, api, route{
		id: "resume-webhook", method: http.MethodPost, path: "webhooks/{id}/resume",
		summary: "Resume a webhook, and release what was suspended because it was paused",
		scope:   tenant.ScopeWebhooks, tags: true, problems: []int{404, 409},
	}, s.resumeWebhook)
	for _, kind := range []struct {
		kind    sqlstore.JobKind
		summary string
	}{
		{sqlstore.JobRelease, "Send suspended deliveries of a webhook, in the background"},
		{sqlstore.JobDiscard, "Give up suspended deliveries of a webhook, in the background"},
	} {
		add(s, api, route{
			id: string(kind.kind) + "-deliveries", method: http.MethodPost, path: "webhooks/{id}/" + string(kind.kind),
			summary: kind.summary, scope: tenant.ScopeDeliveries, status: http.StatusAccepted,
			body: JobSelection{}, bodyOptional: true, maxBody: maxBody, tags: true, once: true, problems: []int{404, 409, 413},
		}, func(ctx context.Context, in *idRawInput) (*jobOutput, error) { return s.askForJob(ctx, in, kind.kind) })
	}
}

func (s *Service) pauseWebhook(ctx context.Context, in *idInput) (*tagged[Webhook], error) {
	w, of, err := s.changePaused(ctx, in.ID, true)
	if err != nil {
		return nil, err
	}
	return s.replyWebhook(ctx, w, of, false), nil
}

// resumeWebhook resumes a webhook and starts the release, also of one that is not paused: a request before may have come
// to resuming it and no further.
func (s *Service) resumeWebhook(ctx context.Context, in *idInput) (*resumeOutput, error) {
	w, of, err := s.changePaused(ctx, in.ID, false)
	if err != nil {
		return nil, err
	}
	shown := s.replyWebhook(ctx, w, of, false)
	out := &resumeOutput{ETag: shown.ETag, Body: shown.Body}
	job, err := s.startJob(withoutDemand(ctx), of.ID, w.ID, sqlstore.JobRelease, resumed(), callerOf(ctx).Key.ID)
	var refused *Problem
	switch {
	case err == nil:
		out.Location = jobPath(job)
	case errors.As(err, &refused) && refused.Status == http.StatusConflict:
		out.Body.Meta.Notice = "what was suspended because of the pause stays suspended: " + refused.Detail
	default:
		return nil, s.resumedOnly(ctx, err)
	}
	return out, nil
}

// resumedOnly is the answer where a webhook was resumed, and the release that goes with it not begun.
func (s *Service) resumedOnly(ctx context.Context, err error) *Problem {
	p := *s.problemOf(ctx, err)
	if p.Status != http.StatusServiceUnavailable {
		return &p
	}
	p.Detail = "the webhook is resumed, but the release of what its pause has suspended is not begun; resume it again: " + p.Detail
	return &p
}

// resumed selects what a resume by hand releases.
func resumed() sqlstore.Selection {
	return sqlstore.Selection{Reason: string(delivery.SuspendPaused)}
}

func (s *Service) changePaused(ctx context.Context, id string, paused bool) (webhook.Webhook, tenant.Tenant, error) {
	_, of, err := s.storeAndTenant(ctx)
	if err != nil {
		return webhook.Webhook{}, of, err
	}
	w, err := s.setPaused(ctx, of.ID, id, paused)
	return w, of, err
}

// setPaused pauses or resumes a tenant's webhook and returns it as it is then, also if it was so before. It errs
// with ErrNotFound. Nothing is released.
func (s *Service) setPaused(ctx context.Context, of, id string, paused bool) (webhook.Webhook, error) {
	store, err := s.sql()
	if err != nil {
		return webhook.Webhook{}, err
	}
	return retried(func() (webhook.Webhook, error) {
		w, err := readWebhook(ctx, store, of, id)
		if err != nil || w.Paused == paused {
			return w, err
		}
		w.Paused, w.UpdatedAt = paused, time.Now().UTC()
		return store.UpdateWebhook(ctx, authorOf(ctx), w)
	})
}
