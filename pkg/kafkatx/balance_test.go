package kafkatx

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssign(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		claims []claim
		count  int
		want   map[string][]int32
	}{
		{"nobody", nil, 3, map[string][]int32{}},
		{"one gets all", []claim{{member: "a"}}, 3, map[string][]int32{"a": {0, 1, 2}}},
		{"fresh members share", []claim{{member: "a"}, {member: "b"}}, 5, map[string][]int32{"a": {0, 1, 2}, "b": {3, 4}}},
		{
			"a newcomer takes no more than its share",
			[]claim{{member: "a", generation: 4, owned: []int32{0, 1, 2, 3}}, {member: "b", generation: -1}},
			4,
			map[string][]int32{"a": {0, 1}, "b": {2, 3}},
		},
		{
			"what is owned stays, what is free goes to the others",
			[]claim{{member: "a", generation: 4, owned: []int32{5}}, {member: "b", generation: 4, owned: []int32{0, 3}}},
			6,
			map[string][]int32{"a": {2, 4, 5}, "b": {0, 1, 3}},
		},
		{
			"the later generation wins",
			[]claim{{member: "old", generation: 3, owned: []int32{0, 1}}, {member: "new", generation: 5, owned: []int32{0, 1}}},
			4,
			map[string][]int32{"new": {0, 1}, "old": {2, 3}},
		},
		{"the larger share stays where more is owned", []claim{{member: "a", owned: []int32{0}}, {member: "b", owned: []int32{1, 2}}}, 3, map[string][]int32{"a": {0}, "b": {1, 2}}},
		{"more members than numbers", []claim{{member: "a"}, {member: "b", owned: []int32{0}}}, 1, map[string][]int32{"a": {}, "b": {0}}},
		{"numbers that are no longer there", []claim{{member: "a", owned: []int32{7, -1}}}, 2, map[string][]int32{"a": {0, 1}}},
	} {
		got := assign(tc.claims, tc.count)
		for m, n := range got {
			if n == nil {
				got[m] = []int32{}
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s:\n%s", tc.name, diff)
		}
	}
}

// TestAssignKeepsItsPromises checks on random groups that every number has one owner, that shares differ by one at most, and that
// a member that stays loses no number unless it has more than its share.
func TestAssignKeepsItsPromises(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		count, members := r.IntN(20), 1+r.IntN(6)
		claims := make([]claim, members)
		for i := range claims {
			claims[i] = claim{member: fmt.Sprint("m", i), generation: 1}
		}
		for n := range count {
			if i := r.IntN(members + 1); i < members { // each number has one owner, or none
				claims[i].owned = append(claims[i].owned, int32(n))
			}
		}
		got := assign(claims, count)
		var all []int32
		for _, c := range claims {
			mine := got[c.member]
			all = append(all, mine...)
			if len(mine) < count/members || len(mine) > count/members+1 {
				t.Fatalf("%v: shares %v", claims, got)
			}
			for _, n := range c.owned {
				if !slices.Contains(mine, n) && len(c.owned) <= count/members {
					t.Fatalf("%v: %s lost %d without need: %v", claims, c.member, n, got)
				}
			}
		}
		if slices.Sort(all); len(all) != count || len(slices.Compact(all)) != count {
			t.Fatalf("%v: %v", claims, got)
		}
	}
}

func TestClaimAndAssignmentRoundTrip(t *testing.T) {
	t.Parallel()
	want := claim{member: "m", generation: 9, owned: []int32{3, 1}}
	got, err := decodeClaim("m", encodeClaim([]string{"a", "bc"}, want))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(claim{})); diff != "" || err != nil {
		t.Errorf("claim: %s, %v", diff, err)
	}
	numbers, err := decodeAssignment(encodeAssignment([]string{"a", "bc"}, []int32{4, 5}))
	if diff := cmp.Diff([]int32{4, 5}, numbers); diff != "" || err != nil {
		t.Errorf("assignment: %s, %v", diff, err)
	}
}
