package demo

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// kind is one of the three kinds of event that vPlan sends ("Payload send to webhook url"), with all
// its types and the one that the demo publishes.
type kind struct {
	name    string
	path    string // of its receiver
	types   []string
	example catalogue.Entry
}

// kinds lists them with the event types of the profile vplan.
func kinds() ([]kind, error) {
	vplan, err := catalogue.Load("vplan")
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	all := []kind{
		{name: "Normal objects", path: "/normal", example: catalogue.Entry{Type: "card.updated", Kind: catalogue.KindNormal}},
		{name: "Nested objects", path: "/nested", example: catalogue.Entry{Type: "card.label.attached", Kind: catalogue.KindNested}},
		{name: "Nested with pivot values", path: "/pivot", example: catalogue.Entry{Type: "card.activity.attached", Kind: catalogue.KindNestedPivot}},
	}
	for i := range all {
		k := &all[i]
		for _, e := range vplan.EventTypes {
			if e.Kind == k.example.Kind {
				k.types = append(k.types, e.Type)
			}
			if e.Type == k.example.Type {
				k.example = e
			}
		}
	}
	return all, nil
}

// card is what all three events are about.
const card = "card-5d0f3c52"

// exampleEvent is the example of a type, as a producer would publish it.
func exampleEvent(of catalogue.Entry) *doorstepv1.Event {
	return &doorstepv1.Event{
		Type: of.Type, OccurredAt: timestamppb.Now(), ExternalReference: card,
		Attributes: map[string]string{"board": "joinery"}, Data: of.Example,
	}
}
