package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// laneBalancer gives partition p of every lane to one member and moves as little as it can. It is
// cooperative: what does not move is not interrupted, and what moves is given up by its old owner
// before the new one gets it.
type laneBalancer struct{ kgo.GroupBalancer }

// newLaneBalancer builds on the cooperative-sticky balancer for its join metadata, which says what a
// member owns.
func newLaneBalancer() laneBalancer { return laneBalancer{kgo.CooperativeStickyBalancer()} }

// ProtocolName is what members must share to be in one group.
func (laneBalancer) ProtocolName() string { return "doorstep-lanes" }

// MemberBalancer reads the members' metadata.
func (b laneBalancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	cb, err := kgo.NewConsumerBalancer(b, members)
	return cb, cb.MemberTopics(), err
}

// Balance plans who reads what.
func (laneBalancer) Balance(b *kgo.ConsumerBalancer, topics map[string]int32) kgo.IntoSyncAssignment {
	partitions := int32(0)
	for _, n := range topics {
		partitions = max(partitions, n)
	}
	var members []string
	owned := map[string][]int32{}
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		members = append(members, m.MemberID)
		for _, o := range meta.OwnedPartitions {
			owned[m.MemberID] = append(owned[m.MemberID], o.Partitions...)
		}
	})
	plan := b.NewPlan()
	byID := map[string]*kmsg.JoinGroupResponseMember{}
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, _ *kmsg.ConsumerMemberMetadata) { byID[m.MemberID] = m })
	for p, member := range shareOut(partitions, members, owned) {
		for topic, n := range topics {
			if int32(p) < n { //nolint:gosec // partitions are few
				plan.AddPartition(byID[member], topic, int32(p)) //nolint:gosec // partitions are few
			}
		}
	}
	plan.AdjustCooperative(b)
	return plan
}

// shareOut gives each of n partitions to a member: numbers differ by at most one, and a partition
// stays with its owner where that allows it. A partition claimed by two stays with the first by name.
func shareOut(n int32, members []string, owned map[string][]int32) []string {
	out := make([]string, n)
	if len(members) == 0 {
		return nil
	}
	slices.Sort(members)
	have := map[string]int{}
	least, extra := int(n)/len(members), int(n)%len(members)
	keep := func(limit int, grants *int) {
		for _, m := range members {
			slices.Sort(owned[m])
			for _, p := range slices.Compact(owned[m]) {
				if p >= n || out[p] != "" || have[m] >= limit || (grants != nil && *grants == 0) {
					continue
				}
				out[p] = m
				have[m]++
				if grants != nil {
					*grants--
				}
			}
		}
	}
	keep(least, nil)      // everybody keeps its share,
	keep(least+1, &extra) // some one more,
	for p := range out {  // and what is left goes to who has least.
		if out[p] != "" {
			continue
		}
		m := slices.MinFunc(members, func(a, b string) int { return have[a] - have[b] })
		out[p] = m
		have[m]++
	}
	return out
}
