package scale

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/doorstep-dev/doorstep/pkg/testkit"
)

// seats says which member of the group has which partition, of all lanes.
type seats map[int32]string

// members are those who have partitions, and how many.
func (s seats) members() map[string]int {
	out := map[string]int{}
	for _, m := range s {
		out[m]++
	}
	return out
}

// shares are the numbers of partitions, the largest first, e.g. "5+4+3".
func (s seats) shares() string {
	var parts []string
	for _, n := range slices.Backward(slices.Sorted(maps.Values(s.members()))) {
		parts = append(parts, fmt.Sprint(n))
	}
	return strings.Join(parts, "+")
}

// even reports whether n members have partitions, their numbers differing by at most one.
func (s seats) even(n int) bool {
	counts := slices.Collect(maps.Values(s.members()))
	return len(counts) == n && slices.Max(counts)-slices.Min(counts) <= 1
}

// moved counts the partitions whose owner is another one in next.
func (s seats) moved(next seats) int {
	n := 0
	for p, m := range s {
		if next[p] != m {
			n++
		}
	}
	return n
}

// least is how few must move from s to next: all of those who have left, and what the new ones must have.
func (s seats) least(next seats) int {
	was, is := s.members(), next.members()
	left, come := 0, 0
	for m, n := range was {
		if is[m] == 0 {
			left += n
		}
	}
	for m := range is {
		if was[m] == 0 {
			come += len(s) / len(is)
		}
	}
	return max(left, come)
}

// seats errs unless the group is at rest with n members who share the partitions evenly, each the same of all lanes.
func (w *world) seats(n int) (seats, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	groups, err := w.admin.DescribeGroups(ctx, w.group())
	if err != nil {
		return nil, err
	}
	g := groups[w.group()]
	if g.Err != nil || g.State != "Stable" {
		return nil, fmt.Errorf("the group is %s: %w", g.State, g.Err)
	}
	lanes := map[string]seats{}
	for _, m := range g.Members {
		c, ok := m.Assigned.AsConsumer()
		if !ok {
			return nil, fmt.Errorf("%s has no assignment", m.MemberID)
		}
		for _, topic := range c.Topics {
			if lanes[topic.Topic] == nil {
				lanes[topic.Topic] = seats{}
			}
			for _, p := range topic.Partitions {
				lanes[topic.Topic][p] = m.MemberID
			}
		}
	}
	out := lanes[w.topics.Deliveries]
	for _, lane := range w.topics.Lanes() {
		if len(lanes[lane]) != partitions || out.moved(lanes[lane]) > 0 {
			return nil, fmt.Errorf("%s is not shared out as the others are: %v", lane, lanes[lane])
		}
	}
	if !out.even(n) {
		return nil, fmt.Errorf("%d senders should share %d partitions: %v", n, partitions, out.members())
	}
	return out, nil
}

// settled returns the seats once n senders have them.
func (w *world) settled(n int) (s seats) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, func() (err error) {
		s, err = w.seats(n)
		return err
	})
	return s
}

// commits are what the group has committed of all lanes.
func (w *world) commits() (kadm.OffsetResponses, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := w.admin.FetchOffsets(ctx, w.group())
	return resp, errors.Join(err, resp.Error())
}

// allDone errs while the senders have not committed all that is on the lanes: nothing can come after it.
func (w *world) allDone() error {
	commits, err := w.commits()
	if err != nil {
		return err
	}
	ends, err := w.ends(w.topics.Lanes()...)
	if err != nil {
		return err
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		c, _ := commits.Lookup(o.Topic, o.Partition)
		left += o.Offset - max(0, c.At)
	})
	if left > 0 {
		return fmt.Errorf("%d records of the lanes are not committed", left)
	}
	return nil
}

// ends are the ends of topics.
func (w *world) ends(topics ...string) (kadm.ListedOffsets, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ends, err := w.admin.ListEndOffsets(ctx, topics...)
	return ends, errors.Join(err, ends.Error())
}

func TestLeast(t *testing.T) {
	// share gives 12 partitions to members in turn, each by a letter.
	share := func(members string) seats {
		s := seats{}
		for p := range int32(partitions) {
			s[p] = string(members[int(p)%len(members)])
		}
		return s
	}
	for name, tt := range map[string]struct {
		from, to string
		want     int
	}{
		"one comes to one":              {"a", "ab", 6},
		"one comes to two":              {"ab", "abc", 4},
		"one comes to four":             {"abcd", "abcde", 2},
		"two come to one":               {"a", "abc", 8},
		"of five, one with three left":  {"abcde", "bcde", 3},
		"of five, one with two left":    {"abcde", "abcd", 2},
		"one leaves, another one comes": {"ab", "bc", 6},
		"nobody comes or leaves":        {"abc", "abc", 0},
	} {
		if got := share(tt.from).least(share(tt.to)); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
