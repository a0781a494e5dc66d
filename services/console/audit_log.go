package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// AuditEntry is one change: who, when, what, and what it was before and after.
type AuditEntry struct {
	ID        string               `json:"id" format:"uuid"`
	CreatedAt time.Time            `json:"created_at"`
	Author    sqlstore.AuthorKind  `json:"author" enum:"api_key,session,system" doc:"session: a person in the web console, who has signed in with the key; system: Doorstep itself"`
	KeyID     string               `json:"key_id" doc:"The author's API key; empty: Doorstep itself, or, to a tenant's key, the platform's"`
	KeyName   string               `json:"key_name"`
	Platform  bool                 `json:"platform" doc:"It was a key of the platform"`
	Action    string               `json:"action" doc:"What was asked for: an operation of this API, also where a page of the web console did the same; bootstrap: made at the first start" example:"patch-webhook"`
	Kind      sqlstore.Kind        `json:"kind" doc:"Of what was changed" example:"webhook"`
	SubjectID string               `json:"subject_id" doc:"Of what was changed"`
	Tenant    *string              `json:"tenant" doc:"Whose it is; null: the platform's"`
	Before    json.RawMessage      `json:"before" doc:"The fields that changed, as they were; null: it was not there. *** stands for what is not told, also where it changed"`
	After     json.RawMessage      `json:"after" doc:"The fields that changed, as they became; null: it is not there any more"`
	Result    sqlstore.AuditResult `json:"result" enum:"done,begun,failed" doc:"Of what is written to the log, not to SQL: begun if it is not known what came of it"`
	Detail    string               `json:"detail" doc:"Of one that failed: why"`
	RequestID string               `json:"request_id"`
}

// auditView is an entry as its reader sees it. A tenant sees that the platform did something, not who there.
func auditView(e sqlstore.AuditEntry, platform bool) AuditEntry {
	by := e.Author
	v := AuditEntry{
		ID: e.ID, CreatedAt: e.CreatedAt, Author: by.Kind, KeyID: by.KeyID, KeyName: by.KeyName, Platform: by.Platform,
		Action: by.Action, Kind: e.Subject.Kind, SubjectID: e.Subject.ID,
		Before: e.Before, After: e.After, Result: e.Result, Detail: e.Detail, RequestID: by.RequestID,
	}
	if e.Subject.Tenant != "" {
		v.Tenant = &e.Subject.Tenant
	}
	if v.Platform && !platform {
		v.KeyID, v.KeyName = "", ""
	}
	return v
}

type auditListInput struct {
	Platform bool `query:"platform" doc:"True: changes of the platform's own keys, and that tenants were made and deleted"`
}

func (s *Service) routeAuditLog(api huma.API) {
	add(s, api, route{
		id: "list-audit-log", method: http.MethodGet, path: "audit-log", scope: tenant.ScopeAdmin,
		summary: "List who changed what, newest first",
		list:    listOf[AuditEntry](sqlstore.AuditList(), lists.Apart{Why: "is told, not looked for", Names: []string{"key_name", "tenant", "before", "after", "detail"}}),
	}, s.listAuditLog)
}

func (s *Service) listAuditLog(ctx context.Context, in *auditListInput) (*output[[]AuditEntry], error) {
	c := callerOf(ctx)
	of, err := c.asks(in.Platform)
	if err != nil {
		return nil, err
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	entries, found, err := store.AuditLog(ctx, of, queryOf(ctx))
	if err != nil {
		return nil, err
	}
	views := make([]AuditEntry, len(entries))
	for i, e := range entries {
		views[i] = auditView(e, c.Platform())
	}
	return replyList(ctx, views, found), nil
}

// noted does what writes to the log alone, with its entry in the audit log before, and what came of it after. If the
// entry cannot be written, it is not done.
func (s *Service) noted(ctx context.Context, of sqlstore.Subject, after map[string]any, do func() error) error {
	store, err := s.sql()
	if err != nil {
		return err
	}
	text, err := json.Marshal(after)
	if err != nil {
		return err
	}
	by := authorOf(ctx)
	id, err := store.Note(ctx, by, of, text)
	if err != nil {
		return err
	}
	failed := do()
	told := failed
	if p := new(Problem); errors.As(failed, &p) {
		told = errors.New(p.Detail)
	} else if failed != nil {
		told = errors.New("it could not be carried out")
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTime)
	defer cancel()
	if err := store.Noted(within, by, id, told); err != nil {
		s.seldom.Warn(ctx, s.log, "an audit entry stays begun", "entry", id, "error", err)
	}
	return failed
}

const (
	trimEvery = time.Hour
	trimTime  = 10 * time.Minute
)

// keepTrimmed removes what is kept for a time only, until ctx ends.
func (s *Service) keepTrimmed(ctx context.Context, store *sqlstore.Store) {
	for {
		within, cancel := context.WithTimeout(ctx, trimTime)
		err := errors.Join(store.TrimAuditLog(within, time.Now().Add(-s.cfg.AuditKeep)), store.DeleteExpiredOnce(within, time.Now()))
		cancel()
		if err != nil && ctx.Err() == nil {
			s.seldom.Warn(ctx, s.log, "what is old was not removed; trying again later", "error", err)
		}
		if !wait(ctx, trimEvery, nil) {
			return
		}
	}
}
