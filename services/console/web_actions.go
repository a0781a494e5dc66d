package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// webAction is what a button of a webhook's page does. It returns the message that the page then tells.
type webAction struct {
	path      string
	operation string // of the API, that does the same; the audit log names it
	scope     tenant.Scope
	do        func(p *web, v *visit, id string) (message string, err error)
}

func webActions() []webAction {
	return []webAction{
		{"activate", "activate-webhook", tenant.ScopeWebhooks, func(p *web, v *visit, id string) (string, error) {
			return "activated", p.setActive(v.ctx, v.session.Tenant, id, true)
		}},
		{"deactivate", "deactivate-webhook", tenant.ScopeWebhooks, func(p *web, v *visit, id string) (string, error) {
			return "deactivated", p.setActive(v.ctx, v.session.Tenant, id, false)
		}},
		{"pause", "pause-webhook", tenant.ScopeWebhooks, func(p *web, v *visit, id string) (string, error) {
			_, err := p.setPaused(v.ctx, v.session.Tenant, id, true)
			return "paused", err
		}},
		{"resume", "resume-webhook", tenant.ScopeWebhooks, func(p *web, v *visit, id string) (string, error) {
			return p.resumeAndRelease(v, id)
		}},
		{"release", "release-deliveries", tenant.ScopeDeliveries, func(p *web, v *visit, id string) (string, error) {
			return p.startFromForm(v, id, sqlstore.JobRelease)
		}},
		{"discard", "discard-deliveries", tenant.ScopeDeliveries, func(p *web, v *visit, id string) (string, error) {
			if v.r.PostForm.Get("confirm") != "yes" {
				return "", invalid.Fields{{Name: "confirm", Message: "must be ticked: what is discarded cannot be sent any more"}}
			}
			return p.startFromForm(v, id, sqlstore.JobDiscard)
		}},
		{"recover", "recover-deliveries", tenant.ScopeDeliveries, func(p *web, v *visit, id string) (string, error) {
			selection, err := decodeRecoveryForm(v.r.PostForm, time.Now())
			if err != nil {
				return "", err
			}
			return p.startAs(v, id, sqlstore.JobRecover, selection)
		}},
	}
}

// acting does what a button asks for and goes back to the webhook's page.
func (p *web) acting(a webAction) func(*visit) error {
	return func(v *visit) error {
		id := v.r.PathValue("id")
		v.ctx = withAction(v.ctx, sqlstore.BySession, a.operation)
		message, err := a.do(p, v, id)
		if err != nil {
			return err
		}
		p.log.Info("done in the web console", "action", a.path, "webhook", id, "key", v.session.Key.ID, "tenant", v.session.Tenant)
		p.redirect(v, webhooksPath+"/"+id, message)
		return nil
	}
}

// resumeAndRelease resumes a webhook and releases what its pause has kept, as far as something else is not in the way.
func (p *web) resumeAndRelease(v *visit, id string) (message string, err error) {
	if _, err := p.setPaused(v.ctx, v.session.Tenant, id, false); err != nil {
		return "", err
	}
	_, err = p.startJob(v.ctx, v.session.Tenant, id, sqlstore.JobRelease, resumed(), v.session.Key.ID)
	if refused := new(Problem); errors.As(err, &refused) && refused.Status == http.StatusConflict {
		return "resumed-only", nil
	}
	if err != nil {
		return "", p.resumedOnly(v.ctx, err)
	}
	return "resumed", nil
}

func (p *web) startFromForm(v *visit, id string, kind sqlstore.JobKind) (message string, err error) {
	selection, err := decodeSelectionForm(v.r.PostForm)
	if err != nil {
		return "", err
	}
	return p.startAs(v, id, kind, selection)
}

func (p *web) startAs(v *visit, id string, kind sqlstore.JobKind, selection sqlstore.Selection) (message string, err error) {
	j, err := p.startJob(v.ctx, v.session.Tenant, id, kind, selection, v.session.Key.ID)
	return string(kind) + "." + j.ID, err
}

// decodeRecoveryForm reads what a form has sent again: what was given up from one minute to another, in UTC.
func decodeRecoveryForm(form url.Values, now time.Time) (sqlstore.Selection, error) {
	var f invalid.Fields
	in := Recovery{
		Since: timeText(decodeMinute(form.Get("since"), "since", &f)), Until: timeText(decodeMinute(form.Get("until"), "until", &f)),
		EventTypes: typesOf(form),
	}
	if len(f) > 0 {
		return sqlstore.Selection{}, f
	}
	return in.selection(now)
}

// typesOf are the event types that a form names; nil: all.
func typesOf(form url.Values) []string {
	types := strings.FieldsFunc(form.Get("event_types"), func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
	if len(types) == 0 {
		return nil
	}
	return types
}

// decodeSelectionForm reads which suspended deliveries a form is about: of some event types, suspended from one
// minute to another, in UTC. Empty fields select all.
func decodeSelectionForm(form url.Values) (sqlstore.Selection, error) {
	var f invalid.Fields
	selection := sqlstore.Selection{
		EventTypes:    typesOf(form),
		SuspendedFrom: decodeMinute(form.Get("from"), "from", &f),
		SuspendedTo:   decodeMinute(form.Get("to"), "to", &f),
	}
	checkPatterns(selection.EventTypes, &f)
	if from, to := selection.SuspendedFrom, selection.SuspendedTo; !from.IsZero() && !to.IsZero() && !from.Before(to) {
		f.Add("to", "must be after from")
	}
	return selection, f.Err()
}

// decodeMinute reads what a field of type datetime-local sends.
func decodeMinute(text, name string, f *invalid.Fields) time.Time {
	if text == "" {
		return time.Time{}
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	f.Add(name, "must be a date and time, e.g. 2026-03-04T05:06")
	return time.Time{}
}
