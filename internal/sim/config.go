package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Mode selects the kind of workers in a run.
type Mode string

// Modes of a run.
const (
	// Plain runs small workers that call the store themselves. They cover more paths through the store per second.
	Plain Mode = "plain"
	// Full runs internal/worker, with the agent's turn loop and the toolpool on top of the store.
	Full Mode = "full"
)

// Modes lists every mode.
var Modes = []Mode{Plain, Full}

// batchID is the batch of a run. reducerID is the batch that reduces it, if the run has one.
const (
	batchID   batch.ID = "b_01jd0000000000000000000000"
	reducerID batch.ID = batchID + ".reduce"
)

// Config is the configuration of one run. [Draw] derives all of it from a seed.
type Config struct {
	Seed   uint64
	Mode   Mode
	Mutant *Mutant // nil leaves the scripts unchanged

	workers     int
	jobs        int
	chunk       int // jobs per feed
	maxAttempts int
	maxAgents   int // live jobs per worker
	slots       int // model calls in flight per worker; full mode
	lease       time.Duration
	ttl         time.Duration
	turns       int           // maximum per job
	turnTime    time.Duration // maximum for one turn
	failing     float64       // share of attempts that end in a failed result
	handBack    float64       // share of turns after which a plain worker releases its job
	retries     int           // how often failed jobs are retried after the batch is done
	reduce      bool          // a second batch reduces the results
	budget      int64         // in tokens; 0 is no budget
	binds       bool          // plain workers bind the batch to one of two models
	sorted      bool          // jobs are fed in another order than that of their indexes
	grouped     bool          // jobs are fed in groups

	// Full mode.
	share        toolpool.Share // of the tool "probe"
	toolTime     time.Duration  // maximum for one execution
	toolPatience time.Duration
	turnPatience time.Duration
	drainTime    time.Duration
	serverFaults float64 // share of model calls that go wrong: 429, 503, 500, a cut stream, silence, long
	toolFaults   float64 // share of executions that hang or fail
	refusals     []refusal
	programs     bool                                // a program is the agent of the jobs
	judge        func(agent.Endpoint) agent.Endpoint // a mutant; nil keeps the worker's own

	skew   time.Duration // offset of Redis' clock from the clock of the bubble
	calmAt time.Duration // end of the faults
	endBy  time.Duration // deadline of the batch
	rates  rates
	faults []fault
}

// rates are the probabilities of the faults that hit single commands.
type rates struct {
	loseRequest float64       // the connection breaks before Redis reads the request
	loseReply   float64       // Redis executes it, then the connection breaks
	slow        float64       // the command is delayed on its way
	slowest     time.Duration // maximum of that delay
}

// Draw derives the configuration of a run from its seed.
func Draw(seed uint64, mode Mode) Config {
	r := chance(seed).on("config")
	pick := func(lo, hi int) int { return lo + r.IntN(hi-lo+1) }
	c := Config{
		Seed: seed, Mode: mode,
		workers:     pick(1, 4),
		jobs:        pick(5, 60),
		chunk:       pick(1, 40),
		maxAttempts: pick(1, 5),
		maxAgents:   pick(1, 12),
		slots:       pick(1, 8),
		lease:       time.Duration(pick(2, 15)) * time.Second,
		ttl:         time.Hour,
		turns:       pick(1, 5),
		failing:     []float64{0, 0.1, 0.4}[r.IntN(3)],
		handBack:    []float64{0, 0.02, 0.1}[r.IntN(3)],
		retries:     r.IntN(3),
	}
	if likely(r, 0.3) {
		c.ttl = 3 * c.lease
	}
	c.turnTime = between(r, 10*time.Millisecond, c.lease*3/2)
	c.calmAt = between(r, 2*c.lease, 12*c.lease)
	c.rates = rates{
		loseRequest: []float64{0, 0.01, 0.05, 0.15}[r.IntN(4)],
		loseReply:   []float64{0, 0.01, 0.05, 0.15}[r.IntN(4)],
		slow:        []float64{0, 0.01, 0.05}[r.IntN(3)],
		slowest:     between(r, 10*time.Millisecond, 3*c.lease/2),
	}
	c.sorted = likely(chance(seed).on("order"), 0.3)
	c.grouped = likely(chance(seed).on("groups"), 0.4)
	c.skew = between(chance(seed).on("skew"), -2*time.Hour, 2*time.Hour)
	c.faults = drawFaults(r, c)
	c.forget(drawAmnesia(chance(seed).on("amnesia"), c))
	if r := chance(seed).on("reduce"); likely(r, 0.35) {
		c.reduced(r)
	}
	if r := chance(seed).on("budget"); likely(r, 0.33) && !c.reduce && !c.forgets() {
		c.limited(r)
	}
	if mode == Full {
		c.drawFull(chance(seed).on("config of a full worker"))
	}
	c.programs = mode == Full && likely(chance(seed).on("programs"), 0.3)
	if mode == Full {
		c.refusals = drawRefusals(chance(seed).on("refusals"), c)
	}
	c.endBy = c.calmAt + c.longest()
	return c
}

// drawFull adds the settings of full mode.
func (c *Config) drawFull(r *rand.Rand) {
	c.share = []toolpool.Share{toolpool.Pure, toolpool.Inflight, toolpool.ForTTL}[r.IntN(3)]
	c.toolTime = between(r, 10*time.Millisecond, c.lease)
	c.toolPatience = between(r, c.lease/4, 2*c.lease)
	c.turnPatience = between(r, c.turnTime, c.turnTime+3*c.lease)
	c.drainTime = between(r, 100*time.Millisecond, 2*c.lease)
	c.serverFaults = []float64{0, 0.05, 0.2, 0.5}[r.IntN(4)]
	c.toolFaults = []float64{0, 0.05, 0.2}[r.IntN(3)]
	for range r.IntN(4) {
		f := fault{kind: serverAway, at: between(r, 0, c.calmAt), slot: r.IntN(c.workers)}
		f.last = min(between(r, 10*time.Millisecond, 2*c.lease), c.calmAt-f.at)
		c.strikes([]fault{f})
	}
}

// longest returns a generous limit for the time that a batch takes without faults. It assumes that every job runs alone, on one
// worker, with all its attempts, and that each attempt lasts until its timeout.
func (c Config) longest() time.Duration {
	attempt := time.Duration(c.turns+2)*(c.turnTime+time.Second) + 4*c.lease
	rounds := time.Duration((c.jobs/c.maxAgents + 2) * c.maxAttempts * (1 + c.retries))
	return rounds*attempt + 20*time.Minute
}

// reduced adds a batch that reduces the results and kills the process that collects them. Its TTL is long, so that the results do
// not expire first.
func (c *Config) reduced(r *rand.Rand) {
	c.reduce, c.ttl, c.budget = true, time.Hour, 0
	c.strikes(drawKills(r, *c))
}

// batches returns the batches of the run.
func (c Config) batches() []batch.ID {
	if c.reduce {
		return []batch.ID{batchID, reducerID}
	}
	return []batch.ID{batchID}
}

// of returns the configuration for the checks of one batch.
func (c Config) of(id batch.ID) Config {
	if id == reducerID {
		c.jobs, c.sorted, c.grouped = 1, false, false
	}
	return c
}

// order returns the indexes of the jobs in the order in which they are fed, the same for each feeder.
func (c Config) order() []int {
	if c.sorted {
		return chance(c.Seed).on("order of the jobs").Perm(c.jobs)
	}
	order := make([]int, c.jobs)
	for i := range order {
		order[i] = i
	}
	return order
}

// forget adds faults that make Redis lose writes.
func (c *Config) forget(faults []fault) {
	if faults == nil {
		return
	}
	c.strikes(faults)
	c.budget = 0
	c.ttl = time.Hour // with a short TTL, a batch that Redis lost would look like one that expired
}

// rests returns for each position how many of the next jobs are in the group of its job. It is nil without groups.
func (c Config) rests() []int64 {
	if !c.grouped {
		return nil
	}
	r := chance(c.Seed).on("sizes of the groups")
	out := make([]int64, 0, c.jobs)
	for len(out) < c.jobs {
		for rest := min(r.IntN(16), c.jobs-len(out)-1); rest >= 0; rest-- {
			out = append(out, int64(rest))
		}
	}
	return out
}

func (c *Config) strikes(faults []fault) {
	c.faults = append(c.faults, faults...)
	slices.SortStableFunc(c.faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
}

// forgets reports whether Redis loses acknowledged writes in this run.
func (c Config) forgets() bool {
	return slices.ContainsFunc(c.faults, func(f fault) bool { return f.kind == amnesia })
}

func (c Config) header() batch.Header {
	return batch.Header{ID: batchID, Name: "sim", Tools: c.tools(), MaxAttempts: c.maxAttempts, TTL: c.ttl, Reduce: c.reduce, Sorted: c.sorted,
		Budget: batch.Budget{Tokens: c.budget}}
}

// String returns the configuration in one line, for the report of a failed run.
func (c Config) String() string {
	name := "none"
	if c.Mutant != nil {
		name = c.Mutant.Name
	}
	return fmt.Sprintf("seed=%d mode=%s mutant=%s workers=%d jobs=%d turns=%d turn_time=%v lease=%v attempts=%d agents=%d slots=%d "+
		"failing=%.2f retries=%d reduce=%v budget=%d grouped=%v programs=%v skew=%v calm_at=%v rates=%+v faults=%v",
		c.Seed, c.Mode, name, c.workers, c.jobs, c.turns, c.turnTime.Round(time.Millisecond), c.lease, c.maxAttempts, c.maxAgents,
		c.slots, c.failing, c.retries, c.reduce, c.budget, c.grouped, c.programs, c.skew.Round(time.Second), c.calmAt.Round(time.Millisecond), c.rates, c.faults)
}
