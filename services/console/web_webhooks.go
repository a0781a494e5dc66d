package console

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/failure"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

const (
	webhooksOnPage   = 25
	deliveriesOnPage = 5
)

// webFuncs are what the templates call.
func webFuncs() template.FuncMap {
	return template.FuncMap{
		"iso": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"day": day,
		"ago": ago,
		"dict": func(pairs ...any) map[string]any {
			m := map[string]any{}
			for i := 0; i+1 < len(pairs); i += 2 {
				m[pairs[i].(string)] = pairs[i+1]
			}
			return m
		},
	}
}

// webhookRow is one webhook of the list.
type webhookRow struct {
	ID          string
	Name        string // if it has none, its host
	Host        string
	Health      health
	FailStreak  int
	Suspended   *int // nil: not known
	LastSuccess time.Time
	LastFailure time.Time
}

// listedPage is what the template of the list shows.
type listedPage struct {
	Webhooks []webhookRow
	Later    bool   // this is not the first page
	Next     string // URL of the next page; empty: this is the last
	Unknown  bool   // failure states have not been read yet
}

func (p *web) listPage(v *visit) error {
	store, of, err := p.storeAndTenant(v.ctx)
	if err != nil {
		return err
	}
	cursor := v.r.URL.Query().Get("cursor")
	q, err := sqlstore.WebhookList().Page(webhooksOnPage, cursor)
	if err != nil {
		return err
	}
	webhooks, found, err := store.Webhooks(v.ctx, of.ID, q)
	if err != nil {
		return err
	}
	main := listedPage{Later: cursor != "", Unknown: p.ready(p.states.Ready()) != nil}
	if found.Next != "" {
		main.Next = webhooksPath + "?cursor=" + url.QueryEscape(found.Next)
	}
	now := time.Now()
	for i, view := range p.shows(v.ctx, webhooks, of) {
		w := webhooks[i]
		main.Webhooks = append(main.Webhooks, webhookRow{
			ID: w.ID, Name: cmp.Or(w.Name, hostOf(w.URL)), Host: hostOf(w.URL), Health: healthOf(w, p.states.Get(w.ID, w.Generation), now),
			FailStreak: view.FailStreak, Suspended: view.SuspendedCount, LastSuccess: orZero(view.LastSuccessAt), LastFailure: orZero(view.LastFailureAt),
		})
	}
	p.render(v, http.StatusOK, "page_webhooks.html", "Webhooks", main)
	return nil
}

// shownPage is what the template of one webhook shows.
type shownPage struct {
	Webhook
	Title      string // its name; if it has none, its host
	State      failure.State
	Health     health
	Can        can
	Kept       string // how many deliveries are suspended, in words
	LastAnswer string // of the last failure
	Deliveries []Delivery
	Path       string // of the webhook's own page
	Unknown    bool   // its failure state has not been read yet
	CanTest    bool
	Tested     *Test  // what a test has just come to; nil: none was made
	TestType   string // that the test was of, or would be
}

func (p *web) webhookPage(v *visit) error { return p.showWebhook(v, nil) }

// showWebhook shows a webhook, and what a test of it has come to.
func (p *web) showWebhook(v *visit, tested *Test) error {
	store, of, err := p.storeAndTenant(v.ctx)
	if err != nil {
		return err
	}
	w, err := readWebhook(v.ctx, store, of.ID, v.r.PathValue("id"))
	if err != nil {
		return err
	}
	view, state := p.show(v.ctx, w, of, false), p.states.Get(w.ID, w.Generation)
	main := shownPage{
		Webhook: view, Title: cmp.Or(w.Name, hostOf(w.URL)), State: state, Health: healthOf(w, state, time.Now()),
		Can:  canDo(w, state, view.SuspendedCount, v.session.Allows(tenant.ScopeWebhooks), v.session.Allows(tenant.ScopeDeliveries)),
		Kept: keptWords(view.SuspendedCount), LastAnswer: lastAnswer(state), Deliveries: p.latest(v, w), Path: webhooksPath + "/" + w.ID, Unknown: p.ready(p.states.Ready()) != nil,
		CanTest: v.session.Allows(tenant.ScopeWebhooks), Tested: tested, TestType: testType(w.EventTypes, p.settings.EventTypes(of.ID)),
	}
	if tested != nil {
		main.TestType = tested.EventType
	}
	p.render(v, http.StatusOK, "page_webhook.html", main.Title, main)
	return nil
}

// keptWords says how many deliveries are suspended, and for how long; nil: nobody knows.
func keptWords(suspended *int) string {
	until := fmt.Sprintf("and can be sent within %d days after", kafka.SuspendedRetention/(24*time.Hour))
	switch {
	case suspended == nil:
		return ""
	case *suspended == 0:
		return "None."
	case *suspended == 1:
		return "1 delivery is kept. It is not sent by itself, " + until + " it was suspended."
	}
	return fmt.Sprintf("%d deliveries are kept. They are not sent by themselves, %s they were suspended.", *suspended, until)
}

// lastAnswer is what the last failed attempt came to, in words; empty: there was none.
func lastAnswer(s failure.State) string {
	if s.LastStatusCode == 0 || s.LastError != "" {
		return s.LastError
	}
	return strings.TrimSpace(strconv.Itoa(s.LastStatusCode) + " " + http.StatusText(s.LastStatusCode))
}

// latest are the newest deliveries of a webhook, if the session may see them and the history answers.
func (p *web) latest(v *visit, w webhook.Webhook) []Delivery {
	store, err := p.history()
	if err != nil || !v.session.Allows(tenant.ScopeDeliveriesRead) {
		return nil
	}
	within, cancel := context.WithTimeout(v.ctx, historyTimeout)
	defer cancel()
	listed, _, err := store.Deliveries(within, sqlhistory.DeliveryFilter{Tenant: w.Tenant, WebhookID: w.ID}, sqlhistory.Page{Limit: deliveriesOnPage})
	if err != nil {
		p.seldom.Warn(v.ctx, p.log, "webhook shown without its deliveries", "request_id", requestID(v.ctx), "error", err)
		return nil
	}
	return listedViews(listed, time.Now())
}
