package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// maxSelectedIDs is how many deliveries a job may name.
const maxSelectedIDs = 500

// Job is a change of many deliveries of one webhook, which goes on in the background.
type Job struct {
	ID         string             `json:"id" format:"uuid"`
	Kind       sqlstore.JobKind   `json:"kind" enum:"release,discard,recover"`
	WebhookID  string             `json:"webhook_id" format:"uuid"`
	Status     sqlstore.JobStatus `json:"status" enum:"waiting,running,paused,done,failed,cancelled"`
	Total      *int64             `json:"total" doc:"Deliveries that were selected when it began; null: it has not begun. What changes meanwhile makes it more or fewer"`
	Changed    int64              `json:"changed" doc:"Deliveries released, discarded or sent again so far; a console that dies may leave up to 200 of them uncounted"`
	Skipped    int64              `json:"skipped" doc:"Deliveries that stay as they are, since they cannot be sent"`
	SkippedFor sqlstore.Skips     `json:"skipped_for" doc:"The same by reason. payload_gone: the log does not keep the payload any longer; unreadable: it cannot be read"`
	Selection  SelectionView      `json:"selection" doc:"As it was asked for; empty: all suspended deliveries of the webhook"`
	Error      string             `json:"error" doc:"Why it waits or has failed; what was not changed stays as it was"`
	CreatedAt  time.Time          `json:"created_at"`
	UpdatedAt  time.Time          `json:"updated_at"`
	FinishedAt *time.Time         `json:"finished_at"`
}

// JobSelection says which suspended deliveries of a webhook a job is about: those of which all that is named holds.
// Null and absent fields select all.
type JobSelection struct {
	EventTypes  []string               `json:"event_types,omitempty" minItems:"1" maxItems:"200" doc:"Types such as card.updated, prefixes such as card.*, or *"`
	DeliveryIDs []string               `json:"delivery_ids,omitempty" minItems:"1" maxItems:"500" doc:"These deliveries"`
	Reason      delivery.SuspendReason `json:"reason,omitempty" enum:"disabled,inactive,paused" doc:"Why it was suspended"`
	SuspendedAt *TimeRange             `json:"suspended_at,omitempty" doc:"When it was suspended: updated_at of the delivery"`
}

// SelectionView is what a job was asked to do: a release or a discard by the fields of JobSelection, a recover by those
// of Recovery.
type SelectionView struct {
	EventTypes  []string               `json:"event_types,omitempty"`
	DeliveryIDs []string               `json:"delivery_ids,omitempty"`
	Reason      delivery.SuspendReason `json:"reason,omitempty" enum:"disabled,inactive,paused"`
	SuspendedAt *TimeRange             `json:"suspended_at,omitempty"`
	Since       *time.Time             `json:"since,omitempty"`
	Until       *time.Time             `json:"until,omitempty"`
	Statuses    []delivery.Status      `json:"statuses,omitempty"`
}

// TimeRange is a part of time; absent bounds leave it open.
type TimeRange struct {
	GTE string `json:"gte,omitempty" format:"date-time" doc:"At this time or later"`
	GT  string `json:"gt,omitempty" format:"date-time" doc:"Later than this"`
	LTE string `json:"lte,omitempty" format:"date-time" doc:"At this time or earlier"`
	LT  string `json:"lt,omitempty" format:"date-time" doc:"Earlier than this"`
}

// jobOutput is a job that was started.
type jobOutput struct {
	Location string `header:"Location" doc:"Where to see how it goes on"`
	Body     Reply[Job]
}

func (s *Service) routeJobs(api huma.API) {
	add(s, api, route{
		id: "list-jobs", method: http.MethodGet, path: "jobs", summary: "List releases, discards and recovers, oldest first",
		scope: tenant.ScopeDeliveriesRead, list: listOf[Job](sqlstore.JobList()),
	}, s.listJobs)
	add(s, api, route{
		id: "get-job", method: http.MethodGet, path: "jobs/{id}", summary: "Show how far a job has come",
		scope: tenant.ScopeDeliveriesRead, problems: []int{404}, list: oneOf[Job](),
	}, s.getJob)
	add(s, api, route{
		id: "patch-job", method: http.MethodPatch, path: "jobs/{id}",
		summary: "Pause or resume a job (merge patch, RFC 7396); what it has done stays done",
		scope:   tenant.ScopeDeliveries, body: JobPatch{}, media: "application/merge-patch+json", maxBody: maxBody, problems: []int{404, 409, 413},
	}, s.patchJob)
	add(s, api, route{
		id: "cancel-job", method: http.MethodDelete, path: "jobs/{id}",
		summary: "Cancel a job; what it has done stays done, and it stays listed",
		scope:   tenant.ScopeDeliveries, status: http.StatusNoContent, problems: []int{404, 409},
	}, s.cancelJob)
}

func (s *Service) listJobs(ctx context.Context, _ *noInput) (*output[[]Job], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	listed, found, err := store.Jobs(ctx, callerOf(ctx).Tenant, queryOf(ctx))
	if err != nil {
		return nil, err
	}
	views := make([]Job, len(listed))
	for i, j := range listed {
		views[i] = jobView(j)
	}
	return replyList(ctx, views, found), nil
}

func (s *Service) getJob(ctx context.Context, in *idInput) (*output[Job], error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	if err := checkID(in.ID); err != nil {
		return nil, err
	}
	j, err := store.Job(ctx, callerOf(ctx).Tenant, strings.ToLower(in.ID))
	if err != nil {
		return nil, err
	}
	out := reply(ctx, jobView(j))
	if j.Skipped.Gone > 0 {
		out.Body.Meta.Notice = s.skipNotice(ctx, j)
	}
	return out, nil
}

// skipNotice says why a job skipped deliveries whose payload is gone.
func (s *Service) skipNotice(ctx context.Context, j sqlstore.Job) string {
	topic := s.topics.Suspended
	if j.Kind == sqlstore.JobRecover {
		topic = s.topics.Deliveries
	}
	what := fmt.Sprintf("%d were skipped: the payload", j.Skipped.Gone)
	return s.payloads.gone(ctx, what, topic).Detail
}

// askForJob starts a job of what a request selects.
func (s *Service) askForJob(ctx context.Context, in *idRawInput, kind sqlstore.JobKind) (*jobOutput, error) {
	selection, err := decodeSelection(in.RawBody)
	if err != nil {
		return nil, err
	}
	return s.askedFor(ctx, in.ID, kind, selection)
}

func (s *Service) askedFor(ctx context.Context, id string, kind sqlstore.JobKind, selection sqlstore.Selection) (*jobOutput, error) {
	c := callerOf(ctx)
	j, err := s.startJob(ctx, c.Tenant, id, kind, selection, c.Key.ID)
	if err != nil {
		return nil, err
	}
	return replyJob(ctx, j), nil
}

func replyJob(ctx context.Context, j sqlstore.Job) *jobOutput {
	return &jobOutput{Location: jobPath(j), Body: reply(ctx, jobView(j)).Body}
}

func jobPath(j sqlstore.Job) string { return "/api/v1/jobs/" + j.ID }

// startJob starts a job about deliveries of a tenant's webhook, which goes on in the background; by is the id of an API
// key. It errs with ErrNotFound, with a 409 that says what to do if a release or a recover finds a webhook that
// cannot be sent to, and with a 503 while that is not known, or log or history cannot be reached.
func (s *Service) startJob(ctx context.Context, of, id string, kind sqlstore.JobKind, sel sqlstore.Selection, by string) (sqlstore.Job, error) {
	store, err := s.sql()
	if err != nil {
		return sqlstore.Job{}, err
	}
	w, err := readWebhook(ctx, store, of, id)
	if err == nil {
		_, err = s.history()
	}
	if err != nil {
		return sqlstore.Job{}, err
	}
	if kind != sqlstore.JobDiscard {
		err = s.sendable(w, kind)
	}
	if err == nil && kind != sqlstore.JobRelease {
		sel.Before, sel.RunsBefore, err = s.endsNow(ctx)
	}
	if err != nil {
		return sqlstore.Job{}, err
	}
	now := time.Now().UTC()
	j := sqlstore.Job{
		ID: uuid.Must(uuid.NewV7()).String(), Tenant: of, WebhookID: w.ID, Kind: kind, Selection: sel,
		Status: sqlstore.JobWaiting, Total: sqlstore.JobUncounted, RequestedBy: by, CreatedAt: now, UpdatedAt: now,
	}
	answering(ctx, func() any { return replyJob(ctx, j) })
	if j, err = store.CreateJob(ctx, authorOf(ctx), j); err != nil {
		return sqlstore.Job{}, err
	}
	s.log.Info("job started", "job", j.ID, "kind", kind, "webhook", w.ID, "key", by)
	s.jobs.wake()
	return j, nil
}

// sendable errs if what is sent would be suspended.
func (s *Service) sendable(w webhook.Webhook, kind sqlstore.JobKind) error {
	if err := s.ready(s.states.Ready()); err != nil {
		return err
	}
	if o := obstacleOf(w, true, s.states.Get(w.ID, w.Generation)); o != "" {
		return conflict(string(o), o.words(kind, s.pageOf(w.ID)))
	}
	return nil
}

// endsNow are where `deliveries.suspended` and `deliveries` end now.
func (s *Service) endsNow(ctx context.Context) (suspended, runs map[int32]int64, err error) {
	within, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	ends, err := s.payloads.reader.Ends(within, s.topics.Suspended, s.topics.Deliveries)
	if err != nil {
		return nil, nil, s.logAway(ctx, "a job is not begun", err)
	}
	return ends[s.topics.Suspended], ends[s.topics.Deliveries], nil
}

// decodeSelection reads what a request selects; an empty body is all.
func decodeSelection(raw []byte) (sqlstore.Selection, error) {
	var in JobSelection
	if len(bytes.TrimSpace(raw)) == 0 {
		return sqlstore.Selection{}, nil
	}
	f := decode(raw, &in, "")
	if len(f) == 0 && !isObject(raw) {
		f.Add("body", "must be an object")
	}
	if len(f) > 0 {
		return sqlstore.Selection{}, f
	}
	out := sqlstore.Selection{EventTypes: in.EventTypes, Reason: string(in.Reason)}
	checkPatterns(in.EventTypes, &f)
	out.DeliveryIDs = canonicalIDs(in.DeliveryIDs, &f)
	reasons := []delivery.SuspendReason{"", delivery.SuspendDisabled, delivery.SuspendInactive, delivery.SuspendPaused}
	if !slices.Contains(reasons, in.Reason) {
		f.Add("reason", "must be disabled, inactive or paused")
	}
	if r := in.SuspendedAt; r != nil {
		name := func(bound string) string { return "suspended_at." + bound }
		out.SuspendedFrom = later(decodeTime(r.GTE, name("gte"), &f), next(decodeTime(r.GT, name("gt"), &f)))
		out.SuspendedTo = earlier(decodeTime(r.LT, name("lt"), &f), next(decodeTime(r.LTE, name("lte"), &f)))
	}
	return out, f.Err()
}

func isObject(raw []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && object != nil
}

// checkPatterns refuses what selects nothing, and a list of nothing, which could be meant as all or none.
func checkPatterns(types []string, f *invalid.Fields) {
	if types != nil && len(types) == 0 {
		f.Add("event_types", "needs at least one type; leave it out for all")
	}
	if len(types) > webhook.MaxEventTypes {
		f.Add("event_types", "has %d entries, the limit is %d", len(types), webhook.MaxEventTypes)
		return
	}
	for _, t := range types {
		if t != "*" && !event.ValidType(strings.TrimSuffix(t, ".*")) {
			f.Add("event_types", "%q is not a type, nor a type followed by .*", clip(t))
		}
	}
}

// canonicalIDs are delivery ids as they are stored.
func canonicalIDs(given []string, f *invalid.Fields) []string {
	if given != nil && len(given) == 0 {
		f.Add("delivery_ids", "needs at least one id; leave it out for all")
	}
	if len(given) > maxSelectedIDs {
		f.Add("delivery_ids", "has %d entries, the limit is %d", len(given), maxSelectedIDs)
		return nil
	}
	var ids []string
	for i, text := range given {
		id, err := uuid.Parse(text)
		if err != nil || len(text) != 36 {
			f.Add(fmt.Sprintf("delivery_ids[%d]", i), "must be the id of a delivery, a UUID")
			continue
		}
		ids = append(ids, id.String())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func jobView(j sqlstore.Job) Job {
	s := j.Selection
	v := Job{
		ID: j.ID, Kind: j.Kind, WebhookID: j.WebhookID, Status: j.Status,
		Changed: j.Changed, Skipped: j.Skipped.Sum(), SkippedFor: j.Skipped,
		Selection: SelectionView{
			EventTypes: s.EventTypes, DeliveryIDs: s.DeliveryIDs, Reason: delivery.SuspendReason(s.Reason),
			Since: orNull(s.Since), Until: orNull(s.Until), Statuses: s.Statuses,
		},
		Error: j.Error, CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt, FinishedAt: orNull(j.FinishedAt),
	}
	if j.Total != sqlstore.JobUncounted {
		v.Total = &j.Total
	}
	if !s.SuspendedFrom.IsZero() || !s.SuspendedTo.IsZero() {
		v.Selection.SuspendedAt = &TimeRange{GTE: timeText(s.SuspendedFrom), LT: timeText(s.SuspendedTo)}
	}
	return v
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
