package demo

import (
	"bytes"
	"embed"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	doorstepv1 "github.com/doorstep-dev/doorstep/proto/doorstep/v1"
)

// kind is one of the three kinds of event that vPlan sends ("Payload send to webhook url"), with all
// its types and the one that the demo publishes.
type kind struct {
	name    string
	path    string // of its receiver
	types   []string
	example string
}

// kinds lists them with vPlan's event types.
func kinds() []kind {
	return []kind{
		{"Normal objects", "/normal", []string{
			"card.created", "card.updated", "card.deleted", "card.updated.merged",
			"collection.created", "collection.updated", "collection.deleted",
			"attachment.created", "attachment.updated", "attachment.deleted",
			"comment.created", "comment.updated", "comment.deleted",
			"time_tracking.created", "time_tracking.updated", "time_tracking.deleted",
		}, "card.updated"},
		{"Nested objects", "/nested", []string{
			"card.label.attached", "card.label.detached", "card.resource.attached", "card.resource.detached",
			"collection.label.attached", "collection.label.detached", "collection.follower.attached", "collection.follower.detached",
		}, "card.label.attached"},
		{"Nested with pivot values", "/pivot", []string{
			"card.activity.attached", "card.activity.detached", "card.activity.updated",
			"collection.activity.attached", "collection.activity.detached", "collection.activity.updated",
			"collection.checklist.created", "collection.checklist.updated", "collection.checklist.deleted",
			"collection.checklist.item.attached", "collection.checklist.item.detached", "collection.checklist.item.updated",
		}, "card.activity.attached"},
	}
}

//go:embed events/*.json
var eventFiles embed.FS

// card is what all three events are about.
const card = "card-5d0f3c52"

// exampleEvent is the event of a type, as a producer would publish it.
func exampleEvent(eventType string) (*doorstepv1.Event, error) {
	data, err := eventFiles.ReadFile("events/" + eventType + ".json")
	if err != nil {
		return nil, fmt.Errorf("example event: %w", err)
	}
	return &doorstepv1.Event{
		Type: eventType, OccurredAt: timestamppb.Now(), ExternalReference: card,
		Attributes: map[string]string{"board": "joinery"}, Data: bytes.TrimSpace(data),
	}, nil
}
