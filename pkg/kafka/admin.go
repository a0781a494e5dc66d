package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Admin asks brokers what kadm does, and lets callers go when their context ends (see heed).
type Admin struct{ client *kadm.Client }

// NewAdmin asks by that client.
func NewAdmin(client *kgo.Client) Admin { return Admin{kadm.NewClient(client)} }

// StartOffsets are the first offsets that the partitions of topics still hold.
func (a Admin) StartOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return heed(ctx, func(ctx context.Context) (kadm.ListedOffsets, error) {
		return a.client.ListStartOffsets(ctx, topics...)
	})
}

// EndOffsets are the offsets behind the last records, those of open transactions included.
func (a Admin) EndOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return heed(ctx, func(ctx context.Context) (kadm.ListedOffsets, error) { return a.client.ListEndOffsets(ctx, topics...) })
}

// CommittedOffsets are the offsets behind the last records that readers of committed ones see.
func (a Admin) CommittedOffsets(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return heed(ctx, func(ctx context.Context) (kadm.ListedOffsets, error) {
		return a.client.ListCommittedOffsets(ctx, topics...)
	})
}

// OffsetsAfter are the first offsets of records of that time, in Unix milliseconds, or later.
func (a Admin) OffsetsAfter(ctx context.Context, milli int64, topics ...string) (kadm.ListedOffsets, error) {
	return heed(ctx, func(ctx context.Context) (kadm.ListedOffsets, error) {
		return a.client.ListOffsetsAfterMilli(ctx, milli, topics...)
	})
}

// Bounds are StartOffsets and CommittedOffsets. It errs if those of a partition are not known.
func (a Admin) Bounds(ctx context.Context, topics ...string) (starts, ends kadm.ListedOffsets, err error) {
	starts, err = a.StartOffsets(ctx, topics...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return nil, nil, fmt.Errorf("list start offsets of %v: %w", topics, explain(err))
	}
	ends, err = a.CommittedOffsets(ctx, topics...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, nil, fmt.Errorf("list end offsets of %v: %w", topics, explain(err))
	}
	return starts, ends, nil
}

// GroupOffsets are what a group has committed.
func (a Admin) GroupOffsets(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	return heed(ctx, func(ctx context.Context) (kadm.OffsetResponses, error) { return a.client.FetchOffsets(ctx, group) })
}

// Topics are what brokers know of topics.
func (a Admin) Topics(ctx context.Context, topics ...string) (kadm.TopicDetails, error) {
	return heed(ctx, func(ctx context.Context) (kadm.TopicDetails, error) { return a.client.ListTopics(ctx, topics...) })
}

// TopicSettings are the settings of topics.
func (a Admin) TopicSettings(ctx context.Context, topics ...string) (kadm.ResourceConfigs, error) {
	return heed(ctx, func(ctx context.Context) (kadm.ResourceConfigs, error) {
		return a.client.DescribeTopicConfigs(ctx, topics...)
	})
}
