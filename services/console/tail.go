package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

const (
	maxTails = 16 // at once
	// heartbeat is the longest that a tail says nothing; the caller's key is looked up again as often.
	heartbeat = 15 * time.Second
	// tailBytes bounds what is read ahead for a client, of each broker.
	tailBytes = 1 << 20
)

// TailedAttempt is an attempt as it is made.
type TailedAttempt struct {
	DeliveryID string `json:"delivery_id" doc:"Of a condition_error: of the delivery that was not made"`
	WebhookID  string `json:"webhook_id"`
	EventID    string `json:"event_id"`
	EventType  string `json:"event_type"`
	Attempt
}

type tailInput struct {
	WebhookID string   `query:"filter[webhook_id]" format:"uuid"`
	EventType string   `query:"filter[event_type]" maxLength:"128" doc:"Exactly, e.g. card.updated"`
	Status    []string `query:"filter[status]" enum:"pending,retrying,delivered,exhausted,suspended,cancelled,discarded,capped" doc:"Of the delivery after the attempt; one or several, with commas between them"`
	Failed    bool     `query:"filter[failed]" doc:"True: POSTs that were not accepted, and nothing else"`
}

// Resolve is called by huma beside its own checks.
func (*tailInput) Resolve(hc huma.Context) []error { return checkQuery(hc) }

// filter reports which attempts of a tenant are asked for.
func (in *tailInput) filter(of string) (func(delivery.Attempt) bool, error) {
	var f invalid.Fields
	webhookID := in.WebhookID
	if webhookID != "" {
		id, err := uuid.Parse(webhookID)
		if err != nil || len(webhookID) != 36 {
			f.Add("filter[webhook_id]", "must be the id of a webhook, a UUID")
		}
		webhookID = id.String()
	}
	if in.EventType != "" && !event.ValidType(in.EventType) {
		f.Add("filter[event_type]", "must be "+eventTypeForm)
	}
	return func(a delivery.Attempt) bool {
		return a.Tenant == of &&
			(webhookID == "" || a.WebhookID == webhookID) &&
			(in.EventType == "" || a.EventType == in.EventType) &&
			(len(in.Status) == 0 || slices.Contains(in.Status, string(a.Status))) &&
			(!in.Failed || a.Kind == delivery.KindPost && !a.Outcome.OK())
	}, f.Err()
}

// checkQuery finds what huma passes over: a filter without a value would let everything through, and of a parameter
// that is given twice the first would do.
func checkQuery(hc huma.Context) []error {
	u := hc.URL()
	return queryFaults(u.Query())
}

func queryFaults(query url.Values) (faults []error) {
	for name, values := range query {
		var fault string
		switch {
		case len(values) > 1:
			fault = "is given more than once"
		case strings.HasPrefix(name, "filter[") && values[0] == "":
			fault = "needs a value"
		default:
			continue
		}
		faults = append(faults, &huma.ErrorDetail{Location: "query." + name, Message: fault})
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return faults
}

func (s *Service) routeTail(api huma.API) {
	line := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[TailedAttempt](), true, "")
	add(s, api, route{
		id: "tail-attempts", method: http.MethodGet, path: "attempts/tail",
		summary: "Follow attempts as they are made, one JSON object a line; a blank line every 15 s at least",
		scope:   tenant.ScopeDeliveriesRead, problems: []int{429}, answers: map[string]*huma.MediaType{linesType: {Schema: line}},
	}, s.tail)
}

func (s *Service) tail(ctx context.Context, in *tailInput) (*huma.StreamResponse, error) {
	c := callerOf(ctx)
	wanted, err := in.filter(c.Tenant)
	if err != nil {
		return nil, err
	}
	return s.stream(func(ctx context.Context, out *lines) error {
		select {
		case s.tails <- struct{}{}:
			defer func() { <-s.tails }()
		default:
			return newProblem(http.StatusTooManyRequests, fmt.Sprintf("%d attempt streams are open, which is the most at once; close one", maxTails))
		}
		client, err := s.follow(ctx, s.topics.Attempts)
		if err != nil {
			return err
		}
		defer client.Close()
		return s.writeAttempts(ctx, client, out, c.Principal, wanted)
	}), nil
}

// follow is a client that reads a topic from its end on.
func (s *Service) follow(ctx context.Context, topic string) (*kgo.Client, error) {
	within, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	client, err := s.cfg.Kafka.NewClient("console-tail", s.log, kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(tailBytes), kgo.FetchMaxPartitionBytes(tailBytes), kgo.MaxConcurrentFetches(1),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	ends, err := kafka.NewAdmin(client).CommittedOffsets(within, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		client.Close()
		return nil, s.logAway(ctx, "attempts are not followed", err)
	}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) { from[o.Partition] = kgo.NewOffset().At(o.Offset) })
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	return client, nil
}

// writeAttempts writes what a client reads, as far as it is wanted, until ctx ends, the reader of the answer
// goes, or the key that it asked with no longer allows it.
func (s *Service) writeAttempts(ctx context.Context, client *kgo.Client, out *lines, who auth.Principal, wanted func(delivery.Attempt) bool) error {
	if err := out.write(); err != nil { // from here on nothing is missed
		return err
	}
	asked := time.Now()
	for ctx.Err() == nil {
		values, err := s.attemptLines(ctx, client, wanted, out.last.Add(heartbeat))
		if err != nil {
			return err
		}
		if len(values) > 0 || time.Since(out.last) >= heartbeat {
			if err := out.write(values...); err != nil {
				return err
			}
		}
		if time.Since(asked) < heartbeat {
			continue
		}
		if asked = time.Now(); !s.stillAllowed(ctx, who, tenant.ScopeDeliveriesRead) {
			return auth.ErrWrongKey
		}
	}
	return nil
}

// attemptLines waits for attempts, though no longer than until then.
func (s *Service) attemptLines(ctx context.Context, client *kgo.Client, wanted func(delivery.Attempt) bool, until time.Time) ([]any, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	fetches := client.PollRecords(ctx, maxLines)
	if fetches.IsClientClosed() {
		return nil, kgo.ErrClientClosed
	}
	var out []any
	for _, r := range fetches.Records() {
		a, err := wire.ReadAttempt(r)
		if err != nil || !wanted(a) {
			continue // what cannot be read is for the recorder to quarantine
		}
		row, _, _ := history.FromAttempt(a)
		out = append(out, TailedAttempt{
			DeliveryID: row.DeliveryID, WebhookID: a.WebhookID, EventID: a.EventID, EventType: a.EventType,
			Attempt: attemptView(row.Attempt, s.topics),
		})
	}
	return out, nil
}

// stillAllowed looks a caller's key up again: it may have been deleted or expired. While it cannot be looked
// up, it is allowed what it was.
func (s *Service) stillAllowed(ctx context.Context, who auth.Principal, scope tenant.Scope) bool {
	known := true
	now, err := who.Renew(func(hash [32]byte) (tenant.APIKey, bool) {
		k, err := s.key(ctx, hash)
		known = err == nil || errors.Is(err, sqlstore.ErrNotFound)
		return k, err == nil
	}, time.Now())
	return !known || err == nil && now.Allows(scope)
}
