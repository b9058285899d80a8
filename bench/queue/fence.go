package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/internal/processkit"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// fence is one way to check that a writer still holds its lease. The scripts of a variant support only jobs that are claimed once
// and finished once. They are for measurements only.
type fence struct {
	name   string
	script func(name, text string) string

	feed, claim, finish, claimWall, finishWall figures.Series
}

// fences returns the variants that docs/adr/0002-fencing.md compares.
func fences() []*fence {
	return []*fence{
		{name: "hash"},
		{name: "pending", script: pendingFence},
		{name: "pending-no-hash", script: func(name, text string) string { return noHash(name, pendingFence(name, text)) }},
	}
}

// pendingFence checks consumer and delivery count in the pending entries list, entry by entry.
func pendingFence(name, text string) string {
	if name != "finish" {
		return text
	}
	return mustReplace(text, "local leases = n > 0 and redis.call('HMGET', k.lease, unpack(index)) or {}", `
local leases = {}
for j = 1, n do
  local p = redis.call('XPENDING', k.jobs, 'workers', entry[j], entry[j], 1)[1]
  leases[j] = p and p[4] == 1 and string.match(fence[j], '|([^|]*)$') == p[2] and fence[j]
end`)
}

// noHash removes the writes that only the hash needs.
func noHash(name, text string) string {
	switch name {
	case "claim":
		return mustReplace(text, "redis.call('HSET', k.lease, unpack(leases))", "")
	case "finish":
		return mustReplace(text, "redis.call('HDEL', k.lease, unpack(fields))", "")
	}
	return text
}

func mustReplace(text, old, with string) string {
	if strings.Count(text, old) != 1 {
		panic("the script has changed; update this variant: " + old)
	}
	return strings.Replace(text, old, with, 1)
}

// compareFences measures Redis' processor time for each verb of each variant.
func compareFences(ctx context.Context, r *processkit.Redis, s settings) error {
	all := fences()
	for range s.rounds {
		for _, f := range all {
			if err := f.finishJobs(ctx, r, s.jobs); err != nil {
				return fmt.Errorf("fence %s: %w", f.name, err)
			}
		}
	}
	fmt.Printf("\nRedis CPU us per job, median [min-max] of %d rounds of %d jobs\n", s.rounds, s.jobs)
	for _, f := range all {
		fmt.Printf("%-16s feed %s  claim %s  finish %s\n", f.name, f.feed, f.claim, f.finish)
	}
	for _, f := range all[1:] {
		fmt.Printf("%s over %s, round by round: claim %s  finish %s\n",
			f.name, all[0].name, f.claim.Over(all[0].claim), f.finish.Over(all[0].finish))
	}
	return nil
}

func (f *fence) finishJobs(ctx context.Context, r *processkit.Redis, jobs int) error {
	if err := r.Clear(ctx); err != nil {
		return err
	}
	store, err := statestore.Open(ctx, r.URL(), statestore.Options{Script: f.script})
	if err != nil {
		return err
	}
	defer store.Close()
	var id batch.ID
	var leases []batch.Lease
	feedUS, _, err := perJob(ctx, r, jobs, func() error {
		id, err = feed(ctx, store, jobs)
		return err
	})
	if err != nil {
		return err
	}
	claimUS, claimWall, err := perJob(ctx, r, jobs, func() error {
		for len(leases) < jobs {
			_, got, err := store.Claim(ctx, statestore.ClaimParams{Batch: id, Consumer: "node-0", Count: statestore.MaxClaim, Lease: time.Hour})
			if err != nil {
				return err
			}
			for _, j := range got {
				leases = append(leases, j.Lease)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	finishUS, finishWall, err := perJob(ctx, r, jobs, func() error {
		for rest := leases; len(rest) > 0; {
			part := rest[:min(len(rest), statestore.MaxFinish)]
			rest = rest[len(part):]
			done := make([]statestore.Completion, len(part))
			for i, l := range part {
				done[i] = statestore.Completion{Lease: l, Result: result(l), NoJournal: true}
			}
			if _, _, err := store.Finish(ctx, id, done); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.feed, f.claim, f.finish = append(f.feed, feedUS), append(f.claim, claimUS), append(f.finish, finishUS)
	f.claimWall, f.finishWall = append(f.claimWall, claimWall), append(f.finishWall, finishWall)
	figures.Line(os.Stdout, "Fence/by="+f.name, jobs,
		figures.Value{Number: (claimWall + finishWall) * 1e3, Unit: "ns/op"},
		figures.Value{Number: claimUS, Unit: "claim-redis-us/op"},
		figures.Value{Number: finishUS, Unit: "finish-redis-us/op"})
	return complete(ctx, store, id, jobs, int64(jobs))
}

// perJob returns Redis' processor time and the wall time of f, in microseconds per job.
func perJob(ctx context.Context, r *processkit.Redis, jobs int, f func() error) (cpu, wall float64, err error) {
	before, err := r.BusyCPU(ctx)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := f(); err != nil {
		return 0, 0, err
	}
	took := time.Since(begin)
	after, err := r.BusyCPU(ctx)
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(jobs) }
	return per(after - before), per(took), err
}
