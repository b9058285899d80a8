package earlier

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/outage"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// ReuseOwner replaces a batch ID and selects the results of all batches of the same owner.
const ReuseOwner = "owner"

// Limits of ReuseOwner.
const (
	ownersBatches  = 50        // the newest finished batches
	ownersResults  = 2_000_000 // in total; the newest batch is always read
	ownersLookback = 1000      // batches of all owners
)

// Reuse finds earlier results for jobs with the same question. It uses about 60 bytes of memory per earlier result.
type Reuse struct {
	pasts     []past // newest first
	name      string // display name of pasts
	maxTokens int    // of the new batch; 0 means no limit
	prices    batch.Prices
	positions map[key]place
	simulated *bool       // whether the simulated server runs the batch; nil if only the workers know
	held      int64       // results that were read
	found     int64       // jobs with an earlier result
	saved     batch.Usage // of the found results that record their own use
}

// place is the position of an earlier result.
type place struct {
	past int   // index in pasts
	at   int64 // position in that past
}

// Restart forgets what was found, because the jobs are read again.
func (r *Reuse) Restart() { r.found, r.saved = 0, batch.Usage{} }

// Close closes the earlier results.
func (r *Reuse) Close() {
	for _, p := range r.pasts {
		p.Close()
	}
}

// OpenReuse reads the positions of earlier results. from is a batch ID, [ReuseOwner] for all batches of the spec's owner,
// or the path of a results file. The caller closes it.
func OpenReuse(ctx context.Context, from string, compiled *spec.Compiled, connect Connect, notify notice.Func) (_ *Reuse, err error) {
	r := &Reuse{name: from, maxTokens: compiled.Sampling.MaxTokens, prices: compiled.Prices, positions: map[key]place{}}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	id, notID := batch.ParseID(from)
	switch {
	case from == ReuseOwner && connect == nil:
		return nil, fault.Usagef("reuse %s: the batches of an owner are in a cluster's Redis, which cannot be reached from here; name a results file", from)
	case from == ReuseOwner:
		if r.pasts, err = openOwnersPasts(ctx, connect, compiled.Owner, notify); err != nil {
			return nil, fmt.Errorf("reuse %s: %w", from, err)
		}
		r.name = human.Plural(int64(len(r.pasts)), "batch", "batches") + " of " + compiled.Owner
	case notID != nil:
		file, err := openFilePast(from, from)
		if err != nil {
			return nil, fault.Usagef("reuse: %w; it takes a batch ID, a results file, or the word %s", err, ReuseOwner)
		}
		r.pasts = []past{file}
	case connect == nil:
		return nil, fault.Usagef("reuse: the results of batch %s are in a cluster's Redis, which cannot be reached from here; write its results to a file, and name the file", id)
	default:
		p, err := openStorePast(ctx, connect, id, notify)
		if err != nil {
			return nil, fmt.Errorf("reuse: %w", err)
		}
		r.pasts = []past{p}
	}
	for i := range r.pasts {
		if err := r.read(ctx, i); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// read records the positions of one past's results, unless a newer past has them too.
func (r *Reuse) read(ctx context.Context, i int) error {
	err := r.pasts[i].Each(ctx, func(result batch.Result, at int64) error {
		r.held++
		key, ok := keyOf(result.Fingerprint)
		if _, newer := r.positions[key]; ok && !newer && r.valid(result) {
			r.positions[key] = place{i, at}
		}
		return nil
	})
	if errors.Is(err, collect.ErrNotResults) {
		return fault.Usagef("reuse: %w", err)
	}
	return err
}

// openOwnersPasts returns the finished batches of an owner, newest first. An empty list is not an error.
func openOwnersPasts(ctx context.Context, connect Connect, owner string, notify notice.Func) ([]past, error) {
	s, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	wait := outage.Wait{Store: s, Notify: notify}
	var infos []batch.Info
	err = wait.Do(ctx, func() (err error) {
		infos, err = s.Newest(ctx, ownersLookback)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []past
	var held int64
	for _, info := range infos {
		if info.Owner != owner || info.Phase != batch.Done || info.Counts.OK == 0 || info.ID != info.ID.Whole() {
			continue
		}
		if held += info.Counts.Finished(); len(out) == ownersBatches || held > ownersResults && len(out) > 0 {
			break
		}
		out = append(out, &storePast{s, info.ID, wait})
	}
	return out, nil
}

// validUnder reports whether the new max_tokens would give the same output. This is so if the earlier limit was not
// higher, or if all turns together are within the new limit.
func validUnder(old batch.Result, maxTokens int) bool {
	ran := old.ReusedFrom == "" // a reused result does not record its own use
	return maxTokens == 0 || old.MaxTokens > 0 && old.MaxTokens <= maxTokens || ran && old.Usage.CompletionTokens <= int64(maxTokens)
}

// valid reports whether an earlier result can be reused.
func (r *Reuse) valid(old batch.Result) bool {
	return old.Status == batch.OK && old.Fingerprint != "" && (r.simulated == nil || old.Simulated == *r.simulated) && validUnder(old, r.maxTokens)
}

// find returns the earlier result with a fingerprint; nil if it is missing.
func (r *Reuse) find(ctx context.Context, fingerprint string) (*spec.Reuse, error) {
	key, ok := keyOf(fingerprint)
	at, known := r.positions[key]
	if !ok || !known {
		return nil, nil
	}
	results, err := r.pasts[at.past].at(ctx, []int64{at.at})
	if err != nil {
		return nil, err
	}
	old := results[0]
	if old.Fingerprint != fingerprint || !r.valid(old) {
		return nil, nil // a retry took it back
	}
	r.found++
	from := old.ReusedFrom
	if from == "" {
		r.saved.Add(old.Usage)
		from = batch.Job{Batch: old.Batch, Index: old.Index}.String()
	}
	return &spec.Reuse{From: from, Output: old.Output, Model: old.Model, Fingerprint: fingerprint, MaxTokens: old.MaxTokens, Simulated: old.Simulated}, nil
}

// Attach makes the jobs of c use earlier results. model is the model that runs them.
func (r *Reuse) Attach(p *spec.Prepared, model string) error {
	names := make([]string, len(p.Jobs.Tools))
	for i, name := range p.Jobs.Tools {
		names[i] = toolpool.WireName(name)
	}
	q, err := p.Jobs.Question(model, names)
	if err != nil {
		return err
	}
	p.Reuse(r.name, q, r.find)
	return nil
}

// Summary reports how many results were reused and their cost.
func (r *Reuse) Summary(total int64) string {
	line := fmt.Sprintf("reusing %s of %s from %s", human.Plural(r.found, "result", "results"), human.Count(r.held), r.name)
	if saved := r.saved.PromptTokens + r.saved.CompletionTokens; saved > 0 {
		line += fmt.Sprintf(", which took %s", human.Plural(saved, "token", "tokens"))
		if r.prices != (batch.Prices{}) {
			line += " (" + human.Dollars(r.prices.Cost(r.saved)) + ")"
		}
	}
	if r.found < total {
		line += "; " + human.Plural(total-r.found, "job runs", "jobs run")
	}
	if r.held > 0 && len(r.positions) == 0 {
		line += " (none of them can be reused: they failed, or had a tool with side effects)"
	}
	return line
}

// effectTools returns an error if a tool of the batch has side effects, because a reused job would skip them.
func effectTools(pool *toolpool.Pool, names []string) error {
	for _, name := range names {
		if t, ok := pool.Lookup(toolpool.WireName(name)); ok && t.Share == toolpool.Effect {
			return fault.Usagef("reuse: the tool %s has side effects, which would not happen for jobs that are not run", name)
		}
	}
	return nil
}

// ErrReusePlan refuses reuse for a planned batch, because its questions are unknown before the plan is made.
var ErrReusePlan = fault.Usagef("reuse does not go with plan: the jobs' questions are unknown before the plan is made")

// LocalReuse makes the jobs of a batch in this process use earlier results.
func LocalReuse(ctx context.Context, from string, p *spec.Prepared, tools *toolpool.Pool, model backend.Model, notify notice.Func) (*Reuse, error) {
	if p.Planner != nil {
		return nil, ErrReusePlan
	}
	if err := effectTools(tools, p.Jobs.Tools); err != nil {
		return nil, err
	}
	r, err := OpenReuse(ctx, from, p.Jobs, nil, notify)
	if err != nil {
		return nil, err
	}
	r.simulated = &model.Simulated
	return r, r.Attach(p, cmp.Or(p.Jobs.Model, model.ID))
}
