package statestore

import (
	"context"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// MaxSpend is the limit of calls per [Store.Spend], separately for ended and wanted calls.
const MaxSpend = 64

// Call identifies one model call of a leased job. The worker numbers the calls of each lease and uses no number twice.
type Call struct {
	Lease  batch.Lease
	Number int64
}

func (c Call) name() string { return fmt.Sprintf("%d.%d", c.Lease.Token, c.Number) }

// EndedCall is an ended call and its usage.
type EndedCall struct {
	Call
	// Usage is nil if the call broke off and its usage is unknown. It then counts with its reservation.
	Usage *batch.Usage
}

// WantedCall is a call that the worker wants to start, and the worker's estimate of its usage.
type WantedCall struct {
	Call
	PromptTokens  int64 // estimate of the worker
	MaxCompletion int64 // 0 if the answer has no limit
}

// Grant is the answer to a [WantedCall].
type Grant int

// The grants.
const (
	// Granted: the call may start, and must be settled.
	Granted Grant = iota
	// NoRoom: the calls in flight may need the rest of the budget. Call Spend again when some have ended.
	NoRoom
	// NoLease: the lease is fenced.
	NoLease
	// UsedUp: the budget is used up.
	UsedUp
)

// Spend settles ended calls and then reserves room in the batch's budget for wanted ones, in one step. It returns the phase (""
// if the batch is gone) and one grant per wanted call. Each list has at most MaxSpend calls. Repeatable.
func (s *Store) Spend(ctx context.Context, id batch.ID, ended []EndedCall, wanted []WantedCall) (batch.Phase, []Grant, error) {
	op := fmt.Sprintf("settle %d and reserve %d model calls of batch %s", len(ended), len(wanted), id)
	ends, wants := make([]named, len(ended)), make([]named, len(wanted))
	for i, c := range ended {
		ends[i] = named{"index": decimal(c.Lease.Job.Index), "call": c.name()}
		if u := c.Usage; u != nil {
			ends[i]["usage"] = []int64{u.PromptTokens, u.CachedTokens, u.CompletionTokens}
		}
	}
	for i, c := range wanted {
		wants[i] = named{
			"index": decimal(c.Lease.Job.Index), "fence": c.Lease.Fence(), "call": c.name(), "prompt": c.PromptTokens, "limit": c.MaxCompletion,
		}
	}
	v, err := s.call(ctx, op, s.scripts.spend, id, named{"ended": ends, "wanted": wants})
	if err != nil {
		return "", nil, err
	}
	r := reply{v}
	phase := batch.Phase(r.at(0).str())
	grants := make([]Grant, len(wanted))
	for i := range grants {
		grants[i] = map[int64]Grant{1: Granted, 0: NoRoom, -2: UsedUp}[r.at(1+i).num()]
		if phase == "" || r.at(1+i).num() == -1 {
			grants[i] = NoLease
		}
	}
	return phase, grants, nil
}
