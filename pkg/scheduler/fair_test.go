package scheduler

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// serve gives out jobs one claim at a time and returns how many each batch got.
func serve(f *FairShare, all []Candidate, claims, room int) map[string]int {
	got := map[string]int{}
	f.Meet(all)
	for range claims {
		c := all[f.Next(all)]
		n := Quantum(all, room)
		f.Served(c, n)
		got[c.Batch] += n
	}
	return got
}

func TestOwnersShareEqually(t *testing.T) {
	t.Parallel()
	all := []Candidate{{"b1", "ann", 0}, {"b2", "ann", 0}, {"b3", "ann", 0}, {"b4", "bob", 0}}
	got := serve(NewFairShare(), all, 600, 64)
	assert.Equal(t, got["b4"], got["b1"]+got["b2"]+got["b3"])
	assert.InDelta(t, got["b1"], got["b3"], 64, "batches of one owner share too")
}

func TestWithinAnOwnerPriorityGoesFirst(t *testing.T) {
	t.Parallel()
	all := []Candidate{{"b1", "ann", 0}, {"b2", "ann", 5}, {"b3", "bob", 900}}
	got := serve(NewFairShare(), all, 100, 10)
	assert.Zero(t, got["b1"])
	assert.Equal(t, got["b2"], got["b3"], "a priority is worth nothing against another owner")
}

// A small batch of another owner joins a huge one: it gets the very next claim, and half of the jobs from then on.
func TestLateOwnerStartsAtOnceWithEqualShare(t *testing.T) {
	t.Parallel()
	f := NewFairShare()
	big := Candidate{"b1", "ann", 0}
	serve(f, []Candidate{big}, 1_000, 100)
	all := []Candidate{big, {"b2", "bob", 0}}
	first := serve(f, all, 2, 100)
	assert.Equal(t, 50, first["b2"])
	got := serve(f, all, 100, 100)
	assert.Equal(t, got["b1"], got["b2"])
}

func TestFairShareWithoutCandidates(t *testing.T) {
	t.Parallel()
	assert.Equal(t, -1, NewFairShare().Next(nil))
	assert.Equal(t, 5, Quantum(nil, 5))
	assert.Equal(t, 1, Quantum([]Candidate{{"b", "a", 0}}, 0))
}

// Between any two owners that both always have work, the jobs served differ by at most one claim.
func TestSharesNeverDriftApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f := NewFairShare()
		var all []Candidate
		for i := range rapid.IntRange(1, 8).Draw(rt, "batches") {
			all = append(all, Candidate{fmt.Sprint("b", i), rapid.SampledFrom([]string{"ann", "bob", "cy"}).Draw(rt, "owner"), rapid.IntRange(-1, 1).Draw(rt, "priority")})
		}
		got := map[string]int{}
		most := 0
		f.Meet(all)
		for range rapid.IntRange(1, 200).Draw(rt, "claims") {
			c := all[f.Next(all)]
			n := rapid.IntRange(1, 64).Draw(rt, "jobs")
			most = max(most, n)
			f.Served(c, n)
			got[c.Owner] += n
		}
		for _, a := range all {
			for _, b := range all {
				assert.LessOrEqual(rt, got[a.Owner]-got[b.Owner], most)
			}
		}
	})
}
