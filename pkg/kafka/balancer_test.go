package kafka

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestShareOutIsEvenAndMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := int32(rapid.IntRange(1, 48).Draw(t, "partitions"))
		var members []string
		owned := map[string][]int32{}
		count := 0
		for step := range rapid.IntRange(1, 6).Draw(t, "steps") {
			before := map[int32]string{}
			for m, ps := range owned {
				for _, p := range ps {
					before[p] = m
				}
			}
			if len(members) == 0 || rapid.Bool().Draw(t, "joins") {
				count++
				members = append(members, fmt.Sprintf("m%02d", count))
			} else if len(members) > 1 {
				i := rapid.IntRange(0, len(members)-1).Draw(t, "leaves")
				delete(owned, members[i])
				members = append(members[:i:i], members[i+1:]...)
			}
			out := shareOut(n, append([]string(nil), members...), owned)
			have, stays := map[string]int{}, 0
			now := map[string][]int32{}
			for p, m := range out {
				have[m]++
				now[m] = append(now[m], int32(p))
				if before[int32(p)] == m {
					stays++
				}
			}
			least := int(n) / len(members)
			most := 0
			for _, m := range members {
				if have[m] < least || have[m] > least+1 {
					t.Fatalf("step %d: %s has %d of %d partitions among %d members", step, m, have[m], n, len(members))
				}
			}
			// Nothing moves that could stay: each member keeps as much as its new share allows.
			for _, m := range members {
				most += min(len(owned[m]), have[m])
			}
			if stays != most {
				t.Fatalf("step %d: %d partitions stay, %d could", step, stays, most)
			}
			owned = now
		}
	})
}
