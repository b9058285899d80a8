package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	batchesKept   = 1024            // compiled batches in memory
	batchesMaxAge = 2 * time.Second // of the list of active batches
)

// openBatch is an active batch whose jobs this worker can run.
type openBatch struct {
	id   batch.ID
	name string // name in the spec
	from scheduler.Candidate
	def  *agent.Definition
	// anyModel lets workers use different models; Redis then only records them. Otherwise Redis binds the batch to the first
	// model that answers. bound is set once Redis has this worker's model.
	anyModel bool
	bound    atomic.Bool
	binding  chan struct{} // held by the agent that asks Redis
	reduces  batch.ID      // the batch that this batch's one job reduces; "" for other batches
	plans    batch.ID      // the batch that this batch plans; "" for other batches
	// items returns the jobs in an output. It is set if plans is.
	items func(output json.RawMessage) ([][]byte, error)

	// Inputs of admission. jobs and promptBytes belong to the claimer.
	prefixBytes, taskBytes, maxTurns int
	jobs, promptBytes                int // of the jobs claimed so far
	lead                             *lead
	slots                            *scheduler.Slots // nil unless the spec limits its requests in flight
	account                          *account
	seeding                          *scheduler.Seeding // nil if seeding gains nothing
	advisor                          scheduler.Advisor
	// maxAgents limits the live agents of this batch on this worker; 0 is no limit. More agents would only wait for the
	// batch's own slots, and another worker could run them.
	maxAgents int
	offered   time.Time // when the claim loop last offered to be the standby
}

// jobBytes returns the average size of a job's prompt beyond the shared prefix.
func (b *openBatch) jobBytes() int {
	if b.jobs == 0 {
		return b.taskBytes + b.lead.own()
	}
	return b.promptBytes / b.jobs
}

// model returns the model of the batch's calls.
func (b *openBatch) model() string { return b.def.Model() }

// batches lists the active batches and decides which of them this worker can serve. Safe for concurrent use.
type batches struct {
	store *statestore.Store
	tools *toolpool.Pool
	// programs is nil if this worker runs none.
	programs Programs
	can      backend.Capabilities
	check    func(id batch.ID, output json.RawMessage) error // nil accepts all outputs
	served   func() []backend.Model
	// accounts settles the budgets of the batches.
	accounts *spender
	log      *slog.Logger

	mu      sync.Mutex
	active  []batch.ID
	asked   time.Time
	known   *lru.Cache[batch.ID, *openBatch] // guarded by mu
	refused *lru.Cache[batch.ID, string]
	foreign map[batch.ID]batch.Pause // guarded by mu; batches of a model that the backend does not serve
	// A batch is in doubt while Redis may hold leases that this worker does not know: a claim's reply was lost, or Redis
	// forgot results of this worker. Both are guarded by mu.
	doubts  int              // how often all batches came into doubt
	trusted map[batch.ID]int // value of doubts when the batch was last trusted; -1 after a lost reply; 0 if missing
}

func newBatches(
	s *statestore.Store, t *toolpool.Pool, p Programs, can backend.Capabilities, check func(batch.ID, json.RawMessage) error, served func() []backend.Model, accounts *spender, log *slog.Logger,
) (*batches, error) {
	known, err := lru.New[batch.ID, *openBatch](batchesKept)
	if err != nil {
		return nil, fmt.Errorf("make the cache of batches: %w", err)
	}
	refused, err := lru.New[batch.ID, string](batchesKept)
	if err != nil {
		return nil, fmt.Errorf("make the cache of refused batches: %w", err)
	}
	return &batches{
		store: s, tools: t, programs: p, can: can, check: check, served: served, accounts: accounts, log: log, known: known, refused: refused,
		trusted: make(map[batch.ID]int), foreign: make(map[batch.ID]batch.Pause),
	}, nil
}

// list returns the active batches, oldest first.
func (b *batches) list(ctx context.Context) ([]batch.ID, error) {
	b.mu.Lock()
	fresh := !b.asked.IsZero() && time.Since(b.asked) < batchesMaxAge
	b.mu.Unlock()
	if !fresh {
		active, err := b.store.Active(ctx)
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		b.active, b.asked = active, time.Now()
		// Drop the trust in ended batches, so that the map stays as small as the list. Keep doubts (-1): this list may be older.
		maps.DeleteFunc(b.trusted, func(id batch.ID, since int) bool { return since >= 0 && !slices.Contains(active, id) })
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.active), nil
}

// stale makes the next call of list ask Redis.
func (b *batches) stale() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = time.Time{}
}

// forgetAll drops the compiled batches, because the backend may serve other models now.
func (b *batches) forgetAll() {
	b.known.Purge()
	b.refused.Purge()
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.foreign)
}

// get returns the state of a batch, or nil if this worker cannot serve it. The reason is logged once.
func (b *batches) get(ctx context.Context, id batch.ID) (*openBatch, error) {
	if w, ok := b.known.Get(id); ok {
		return w, nil
	}
	if _, ok := b.refused.Get(id); ok {
		return nil, nil
	}
	text, err := b.store.Plan(ctx, id)
	if err != nil {
		return nil, err
	}
	bound, err := b.store.BoundModel(ctx, id)
	if err != nil {
		return nil, err
	}
	w, err := b.compile(id, text, bound)
	if err != nil {
		return nil, b.refuse(ctx, id, err)
	}
	budgeted, err := b.store.Budgeted(ctx, id)
	if err != nil {
		return nil, err
	}
	w.account.budgeted.Store(budgeted)
	b.known.Add(id, w)
	return w, nil
}

// refuse records that this worker cannot run jobs of a batch. It logs the reason, unless the batch is ending.
func (b *batches) refuse(ctx context.Context, id batch.ID, why error) error {
	phase, err := b.store.Phase(ctx, id)
	if err != nil {
		return err
	}
	b.known.Remove(id)
	b.refused.Add(id, why.Error())
	if phase == batch.Cancelling || phase.Terminal() {
		return nil
	}
	b.log.Warn("this worker does not claim from the batch", "batch", id, "reason", why)
	if m, ok := errors.AsType[*modelError](why); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.foreign) < batchesKept {
			b.foreign[id] = batch.Pause{Model: m.want, Kind: otherModel, Reason: "server " + m.Error(), Since: time.Now()}
		}
	}
	return nil
}

// otherModel is the kind of pause of a batch with a model that the backend does not serve.
const otherModel = "other_model"

// pauses returns one pause for each model that batches wait for.
func (b *batches) pauses() []batch.Pause {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []batch.Pause
	for _, p := range b.foreign {
		if !slices.ContainsFunc(out, func(o batch.Pause) bool { return o.Model == p.Model }) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b batch.Pause) int { return strings.Compare(a.Model, b.Model) })
	return out
}

func (b *batches) compile(id batch.ID, text []byte, bound string) (*openBatch, error) {
	compiled, err := spec.ParseCompiled(text)
	if err != nil {
		return nil, err
	}
	if compiled.Model == "" && !compiled.AnyModel {
		compiled.Model = bound
	}
	model, err := pickModel(b.served(), compiled.Model)
	if err != nil {
		return nil, err
	}
	if a := compiled.Agent; a != nil {
		if b.programs == nil {
			return nil, errors.New("it runs no programs, and the batch's agent is one")
		}
		if err := b.programs.Runs(a); err != nil {
			return nil, err
		}
	}
	tools := make([]toolpool.Tool, 0, len(compiled.Tools))
	var preloaded []toolpool.Tool // that the agent cannot call
	for _, name := range agent.PreloadOnly(compiled) {
		t, ok := b.tools.Lookup(name)
		if !ok {
			return nil, fmt.Errorf("it has no tool %q", name)
		}
		preloaded = append(preloaded, t)
	}
	for i, name := range compiled.Tools {
		t, ok := b.tools.Lookup(toolpool.WireName(name))
		if !ok {
			return nil, fmt.Errorf("it has no tool %q", name)
		}
		if own, ok := compiled.ToolSettings[name]; ok {
			delete(compiled.ToolSettings, name)
			compiled.ToolSettings[t.Name] = own
			if _, _, err := toolpool.Narrow(t, toolpool.Share(own.Share), own.TTL); err != nil {
				b.log.Warn("the batch requests more sharing than the tool allows; the tool's setting applies", "batch", id, "reason", err)
			}
		}
		compiled.Tools[i] = t.Name
		tools = append(tools, t)
	}
	var checks []func(json.RawMessage) error
	if b.check != nil {
		checks = append(checks, func(output json.RawMessage) error { return b.check(id, output) })
	}
	def, err := agent.Compile(compiled, slices.Concat(tools, preloaded), model, checks...)
	if err != nil {
		return nil, err
	}
	prefix := len(compiled.System)
	for _, t := range tools {
		prefix += len(t.Name) + len(t.Description) + len(t.Parameters)
	}
	maxTurns := compiled.MaxTurns
	if len(tools) == 0 && compiled.Agent == nil {
		maxTurns = 1 // a repair turn is rare
	}
	w := &openBatch{
		binding: make(chan struct{}, 1),
		id:      id, name: compiled.Name, def: def, reduces: compiled.Reduces, plans: compiled.Plans, items: compiled.Items,
		prefixBytes: prefix, taskBytes: len(compiled.Task), lead: newLead(compiled),
		maxTurns: maxTurns,
		account:  newAccount(id, b.accounts),
		from:     scheduler.Candidate{Batch: string(id), Owner: compiled.Owner, Priority: compiled.Priority},
		seeding:  seeds(b.can, prefix),
	}
	w.anyModel = compiled.AnyModel
	if compiled.MaxInflight > 0 {
		w.slots = scheduler.NewSlots(compiled.MaxInflight)
		w.maxAgents = 4 * compiled.MaxInflight
	}
	return w, nil
}

func pickModel(served []backend.Model, name string) (backend.Model, error) {
	switch {
	case len(served) == 0 && name == "":
		return backend.Model{}, errors.New("its backend lists no models; name one in the spec (model:)")
	case len(served) == 0:
		return backend.Model{ID: name}, nil
	case name == "":
		return served[0], nil
	}
	for _, m := range served {
		if m.Is(name) {
			return m, nil
		}
	}
	return backend.Model{}, &modelError{modelIDs(served), name}
}

// modelError reports that the backend does not serve the model of a batch.
type modelError struct {
	served []string
	want   string
}

func (e *modelError) Error() string {
	return fmt.Sprintf("serves %s, and the batch uses the model %q", strings.Join(e.served, ", "), e.want)
}

func modelIDs(models []backend.Model) []string {
	out := make([]string, len(models))
	for i, m := range models {
		out[i] = m.ID
	}
	return out
}

// doubt records that a claim from the batch may have leased jobs that this worker does not know.
func (b *batches) doubt(id batch.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trusted[id] = -1
}

// doubtAll records that the connection to Redis broke. Redis may have restarted or failed over, and may have forgotten
// results of any batch.
func (b *batches) doubtAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubts++
	b.asked = time.Time{}
}

// anyDoubted reports whether a batch may be in doubt. It is cheap if none ever was.
func (b *batches) anyDoubted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.doubts > 0 || len(b.trusted) > 0
}

// doubted reports whether the batch is in doubt. The caller passes since to trust.
func (b *batches) doubted(id batch.ID) (since int, yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.doubts, b.trusted[id] < b.doubts
}

// trust clears the doubts about a batch up to since, the value that doubted returned.
func (b *batches) trust(id batch.ID, since int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trusted[id] = since
}

// forget drops a compiled batch, so that it is compiled again for its bound model.
func (b *batches) forget(id batch.ID) { b.known.Remove(id) }

// leave drops the doubts and pauses of a batch.
func (b *batches) leave(id batch.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.trusted, id)
	delete(b.foreign, id)
}

// retire drops a batch that ended or is missing, here and from the active list.
func (b *batches) retire(ctx context.Context, id batch.ID) {
	b.known.Remove(id)
	b.refused.Remove(id)
	b.leave(id)
	b.stale()
	if err := b.store.Retire(ctx, id); err != nil && !statestore.Unreachable(err) && ctx.Err() == nil {
		b.log.Warn("could not take a finished batch off the active list", "batch", id, "error", err)
	}
}
