package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// ReuseOwner, in the place of a batch ID, takes results of all batches of the same owner.
const ReuseOwner = "owner"

// What ReuseOwner looks at.
const (
	ownersBatches  = 50        // that are done, the newest
	ownersResults  = 2_000_000 // of them all; those of the newest batch are always looked at
	ownersLookback = 1000      // batches of all owners
)

// rowReuse finds earlier results for jobs that ask the same. Its memory is about 60 bytes per earlier result.
type rowReuse struct {
	pasts     []past // the newest first
	name      string // what messages call them all
	maxTokens int    // of the new batch; 0 is no limit
	prices    batch.Prices
	places    map[key]place
	simulated *bool       // whether the simulated server runs the batch; nil if only the workers can tell
	held      int64       // results that were read
	found     int64       // jobs that have one
	saved     batch.Usage // of those whose results tell what their making took
}

// place is where an earlier result stands.
type place struct {
	past int   // index in pasts
	at   int64 // as the past says it
}

// restart forgets what was found, because the jobs are read again.
func (r *rowReuse) restart() { r.found, r.saved = 0, batch.Usage{} }

func (r *rowReuse) close() {
	for _, p := range r.pasts {
		p.close()
	}
}

// openReuse reads where earlier results stand: those of a batch in Redis, of all batches of plan's owner, or, if from is no batch ID,
// those in a results file. The caller closes it.
func openReuse(ctx context.Context, from string, plan *spec.Plan, connect connector, say func(string)) (_ *rowReuse, err error) {
	r := &rowReuse{name: from, maxTokens: plan.Sampling.MaxTokens, prices: plan.Prices, places: map[key]place{}}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	id, notID := batch.ParseID(from)
	switch {
	case from == ReuseOwner && connect == nil:
		return nil, usagef("--reuse %s: the batches of an owner are in a cluster's Redis, which this command does not use; use --reuse FILE", from)
	case from == ReuseOwner:
		if r.pasts, err = openOwnersPasts(ctx, connect, plan.Owner, say); err != nil {
			return nil, fmt.Errorf("--reuse %s: %w", from, err)
		}
		r.name = plural(int64(len(r.pasts)), "batch", "batches") + " of " + plan.Owner
	case notID != nil:
		file, err := openFilePast(from, from)
		if err != nil {
			return nil, usagef("--reuse: %w; it takes a batch ID, a results file, or the word %s", err, ReuseOwner)
		}
		r.pasts = []past{file}
	case connect == nil:
		return nil, usagef("--reuse: the results of batch %s are in a cluster's Redis, which this command does not use; collect them with `coordinator results %s --out FILE` and use --reuse FILE", id, id)
	default:
		p, err := openStorePast(ctx, connect, id, say)
		if err != nil {
			return nil, fmt.Errorf("--reuse: %w", err)
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

// read notes where the results of one past stand that no newer one has.
func (r *rowReuse) read(ctx context.Context, i int) error {
	err := r.pasts[i].each(ctx, func(result batch.Result, at int64) error {
		r.held++
		key, ok := keyOf(result.Fingerprint)
		if _, newer := r.places[key]; ok && !newer && r.stands(result) {
			r.places[key] = place{i, at}
		}
		return nil
	})
	if errors.Is(err, errNotResults) {
		return usagef("--reuse: %w", err)
	}
	return err
}

// openOwnersPasts finds the batches of an owner that are done, the newest first. That there is none is no mistake.
func openOwnersPasts(ctx context.Context, connect connector, owner string, say func(string)) ([]past, error) {
	s, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	wait := patience{store: s, say: say}
	var infos []batch.Info
	err = wait.do(ctx, func() (err error) {
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

// standsUnder reports whether an earlier output would have been the same under the new max_tokens: it was made under no
// higher limit, or is shorter than the new one in all its turns together.
func standsUnder(old batch.Result, maxTokens int) bool {
	ran := old.ReusedFrom == "" // otherwise its usage is not that of its making
	return maxTokens == 0 || old.MaxTokens > 0 && old.MaxTokens <= maxTokens || ran && old.Usage.CompletionTokens <= int64(maxTokens)
}

// stands reports whether an earlier result can be used again.
func (r *rowReuse) stands(old batch.Result) bool {
	return old.Status == batch.OK && old.Fingerprint != "" && (r.simulated == nil || old.Simulated == *r.simulated) && standsUnder(old, r.maxTokens)
}

// find is the earlier result with a fingerprint; nil if there is none.
func (r *rowReuse) find(ctx context.Context, fingerprint string) (*spec.Reuse, error) {
	key, ok := keyOf(fingerprint)
	at, known := r.places[key]
	if !ok || !known {
		return nil, nil
	}
	results, err := r.pasts[at.past].at(ctx, []int64{at.at})
	if err != nil {
		return nil, err
	}
	old := results[0]
	if old.Fingerprint != fingerprint || !r.stands(old) {
		return nil, nil // it was taken back by retry
	}
	r.found++
	from := old.ReusedFrom
	if from == "" {
		r.saved.Add(old.Usage)
		from = batch.Job{Batch: old.Batch, Index: old.Index}.String()
	}
	return &spec.Reuse{From: from, Output: old.Output, Model: old.Model, Fingerprint: fingerprint, MaxTokens: old.MaxTokens, Simulated: old.Simulated}, nil
}

// attach lets the jobs of c have earlier results. model is the one that runs them.
func (r *rowReuse) attach(c *spec.Compiled, model string) error {
	names := make([]string, len(c.Plan.Tools))
	for i, name := range c.Plan.Tools {
		names[i] = toolpool.WireName(name)
	}
	q, err := c.Plan.Question(model, names)
	if err != nil {
		return err
	}
	c.Reuse(r.name, q, r.find)
	return nil
}

// summary says what came of it.
func (r *rowReuse) summary(total int64) string {
	line := fmt.Sprintf("reusing %s of %s from %s", plural(r.found, "result", "results"), count(r.held), r.name)
	if saved := r.saved.PromptTokens + r.saved.CompletionTokens; saved > 0 {
		line += fmt.Sprintf(", which took %s", plural(saved, "token", "tokens"))
		if r.prices != (batch.Prices{}) {
			line += " (" + dollars(r.prices.Cost(r.saved)) + ")"
		}
	}
	if r.found < total {
		line += "; " + plural(total-r.found, "job runs", "jobs run")
	}
	if r.held > 0 && len(r.places) == 0 {
		line += " (none of them can be used again: they failed, or a tool with side effects was at hand)"
	}
	return line
}

// effectTools refuses row reuse for a batch whose tools have side effects: those of a job that does not run do not happen.
func effectTools(pool *toolpool.Pool, names []string) error {
	for _, name := range names {
		if t, ok := pool.Lookup(toolpool.WireName(name)); ok && t.Share == toolpool.Effect {
			return usagef("--reuse: the tool %s has side effects, which would not happen for jobs that are not run", name)
		}
	}
	return nil
}

// errReusePlan refuses row reuse for a batch of which nobody knows what its jobs will ask.
var errReusePlan = usagef("--reuse does not go with plan: what the jobs ask is not known before the plan is made")

// localReuse lets the jobs of a batch that runs in this process have earlier results.
func localReuse(ctx context.Context, from string, c *spec.Compiled, tools *toolpool.Pool, model backend.Model, say func(string)) (*rowReuse, error) {
	if c.Planner != nil {
		return nil, errReusePlan
	}
	if err := effectTools(tools, c.Plan.Tools); err != nil {
		return nil, err
	}
	r, err := openReuse(ctx, from, c.Plan, nil, say)
	if err != nil {
		return nil, err
	}
	r.simulated = &model.Simulated
	return r, r.attach(c, cmp.Or(c.Plan.Model, model.ID))
}

// Reuse lets the batch's jobs have the results of earlier ones that asked the same, of a batch in Redis or in a results
// file, instead of running. It is called before Submit.
func (s *Submission) Reuse(ctx context.Context, from string, store *statestore.Store) error {
	if s.load.planner != nil {
		return errReusePlan
	}
	workers, err := store.Workers(ctx)
	if err != nil {
		return err
	}
	model, err := s.runningModel(batch.Live(workers))
	if err != nil {
		return err
	}
	connect := func(context.Context) (*statestore.Store, error) { return store, nil }
	if s.reuse, err = openReuse(ctx, from, s.load.plan, connect, s.console.Say); err != nil {
		return err
	}
	return s.reuse.attach(s.load.compiled, model)
}

// runningModel is the model that workers will run a plan on.
func (s *Submission) runningModel(workers []batch.WorkerRecord) (string, error) {
	if s.load.plan.Model != "" {
		return s.load.plan.Model, nil
	}
	model := ""
	for _, w := range workers {
		if len(w.Models) == 0 {
			continue
		}
		if model != "" && model != w.Models[0] {
			return "", usagef("--reuse: the workers serve %s and %s; name the model in the spec, so that it is known whose results are the same", model, w.Models[0])
		}
		model = w.Models[0]
	}
	if model == "" {
		return "", &UsageError{errors.New("--reuse: name the model in the spec: no worker is up that could tell which one it would be")}
	}
	return model, nil
}
