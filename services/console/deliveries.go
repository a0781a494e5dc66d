package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/history"
	"github.com/doorstep-dev/doorstep/pkg/sqlhistory"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// payloadPolicy keeps what a producer published from running in the console's origin.
const payloadPolicy = "sandbox; default-src 'none'"

// payloadOutput is the body that a receiver gets.
type payloadOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Policy      string `header:"Content-Security-Policy"`
	Body        []byte
}

func (s *Service) routeDeliveries(api huma.API) {
	add(s, api, route{
		id: "list-deliveries", method: http.MethodGet, path: "deliveries", summary: "List deliveries, newest first",
		scope: tenant.ScopeDeliveriesRead, list: listOf[Delivery](deliveryList()),
	}, s.listDeliveries)
	add(s, api, route{
		id: "get-delivery", method: http.MethodGet, path: "deliveries/{id}", summary: "Show a delivery with the attempts of every run",
		scope: tenant.ScopeDeliveriesRead, problems: []int{404}, list: oneOf[DeliveryDetail](),
	}, s.getDelivery)
	add(s, api, route{
		id: "get-delivery-payload", method: http.MethodGet, path: "deliveries/{id}/payload",
		summary: "Show the bytes that the receiver gets, while the log keeps them", scope: tenant.ScopeDeliveriesRead, problems: []int{404, 410},
		answers: map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Description: "Any bytes; JSON, unless an event was published that is none"}}},
	}, s.getPayload)
	add(s, api, route{
		id: "resend-delivery", sends: true, method: http.MethodPost, path: "deliveries/{id}/resend",
		summary: "Send a delivery again, with the same bytes and id; a run that is still under way goes on",
		scope:   tenant.ScopeDeliveries, status: http.StatusAccepted, once: true, problems: []int{404, 409, 410},
	}, s.resend)
}

func (s *Service) listDeliveries(ctx context.Context, _ *noInput) (*output[[]Delivery], error) {
	q := queryOf(ctx)
	f, err := deliveryFilter(callerOf(ctx).Tenant, q)
	if err != nil {
		return nil, err
	}
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	listed, next, err := store.Deliveries(ctx, f, historyPage(q))
	if err != nil {
		return nil, err
	}
	found, err := foundOf(next, q, func() (sqlhistory.Total, error) { return store.DeliveriesTotal(ctx, f) })
	if err != nil {
		return nil, err
	}
	return replyList(ctx, listedViews(listed, time.Now()), found), nil
}

func (s *Service) getDelivery(ctx context.Context, in *idInput) (*output[DeliveryDetail], error) {
	d, err := s.delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	store, err := s.history()
	if err != nil {
		return nil, err
	}
	attempts, err := store.Attempts(ctx, d)
	if err != nil {
		return nil, err
	}
	return reply(ctx, detailView(d, attempts, s.topics, time.Now())), nil
}

// delivery is the row of one of the caller's deliveries.
func (s *Service) delivery(ctx context.Context, id string) (history.Delivery, error) {
	store, err := s.history()
	if err != nil {
		return history.Delivery{}, err
	}
	if err := checkID(id); err != nil {
		return history.Delivery{}, err
	}
	return store.Delivery(ctx, callerOf(ctx).Tenant, id)
}

func (s *Service) getPayload(ctx context.Context, in *idInput) (*payloadOutput, error) {
	row, err := s.delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if row.Status == delivery.Capped {
		return nil, newProblem(http.StatusNotFound, "nothing was made for the webhooks that were cut, so there is no payload")
	}
	d, err := s.record(ctx, row)
	if err != nil {
		return nil, err
	}
	return &payloadOutput{ContentType: cmp.Or(d.ContentType, "application/octet-stream"), Disposition: "inline", Policy: payloadPolicy, Body: d.Body}, nil
}

// record is the delivery as the log holds it, where its latest run was first written.
func (s *Service) record(ctx context.Context, row history.Delivery) (delivery.Delivery, error) {
	r, err := s.payloads.read(ctx, row.Position)
	var d delivery.Delivery
	if err == nil {
		if d, err = wire.ReadDelivery(r); err != nil {
			return delivery.Delivery{}, fmt.Errorf("delivery %s at its position in %s: %w", row.ID, row.Position.Topic, err)
		}
		if d.ID != row.ID || d.Tenant != row.Tenant {
			err = errGone // the topic was made anew, and another record has its place
		}
	}
	if errors.Is(err, errGone) {
		return delivery.Delivery{}, s.payloads.gone(ctx, "the payload", row.Position.Topic)
	}
	return d, err
}
