package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/prefixorder"
	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// loadSpec reads and checks a spec and all its inputs. The caller closes the Spec.
func loadSpec(ctx context.Context, o SubmitOptions, say func(string)) (*spec.Spec, *spec.Compiled, error) {
	s, err := spec.Load(o.Spec, spec.LoadOptions{ToolsRoot: o.ToolsRoot, Stdin: o.Stdin, Earlier: chained(o.Connect, say)})
	if err != nil {
		return nil, nil, inputError(err)
	}
	c, err := compile(ctx, s, o.Owner)
	if err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	for _, note := range c.Notes {
		say(note)
	}
	sayHints(s, say)
	return s, c, nil
}

func sayHints(s *spec.Spec, say func(string)) {
	for _, hint := range s.Hints {
		say("warning: " + hint)
	}
}

// compile reads all inputs. owner, if it is not empty, goes before the spec's; without any it is the user.
func compile(ctx context.Context, s *spec.Spec, owner string) (*spec.Compiled, error) {
	c, err := s.Compile(ctx)
	if err != nil {
		return nil, inputError(err)
	}
	switch {
	case owner != "":
		c.Plan.Owner = owner
	case c.Plan.Owner == "":
		if u, err := user.Current(); err == nil {
			c.Plan.Owner = u.Username
		}
	}
	ownStages(c.Plan, c.Planner, c.Reduce)
	return c, nil
}

// ownStages gives the stages of a batch its owner. Those that there are not are nil.
func ownStages(of *spec.Plan, stages ...*spec.Plan) {
	for _, stage := range stages {
		if stage != nil {
			stage.Owner = of.Owner
		}
	}
}

// inputError says that nothing was submitted because of what the user gave.
func inputError(err error) error {
	if isUsage(err) {
		return err
	}
	return &UsageError{err}
}

func headerOf(id batch.ID, p *spec.Plan) batch.Header {
	return batch.Header{
		ID: id, Name: p.Name, Owner: p.Owner, Priority: p.Priority, Model: p.Model, AnyModel: p.AnyModel, Tools: p.Tools,
		MaxAttempts: p.MaxAttempts, TTL: p.TTL, Budget: p.BatchBudget, Prices: p.Prices,
	}
}

// createTries bounds how often a batch is begun anew: each failover forgets a stage at most once.
const createTries = 5

// create makes a batch, before it the one that reduces it, and after it the one that plans it, if there are any. It begins again if a
// failover forgot one of them meanwhile. Repeatable.
func create(ctx context.Context, s *statestore.Store, id batch.ID, c consignment) (err error) {
	for range createTries {
		if err = createOnce(ctx, s, id, c); !errors.Is(err, statestore.ErrNotFound) {
			return err
		}
	}
	return err
}

func createOnce(ctx context.Context, s *statestore.Store, id batch.ID, c consignment) error {
	header := headerOf(id, c.plan)
	header.Sorted = c.sorted
	header.Plan, header.Reduce = c.planner != nil, c.reduce != nil
	if c.reduce != nil {
		p := *c.reduce
		p.Reduces = id
		if err := createOne(ctx, s, headerOf(id.Reducer(), &p), &p); err != nil {
			return err
		}
	}
	if err := createOne(ctx, s, header, c.plan); err != nil || c.planner == nil {
		return err
	}
	p := *c.planner
	p.Plans = id
	return createOne(ctx, s, headerOf(id.Planner(), &p), &p)
}

func createOne(ctx context.Context, s *statestore.Store, h batch.Header, plan *spec.Plan) error {
	text, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("encode the plan of batch %s: %w", h.ID, err)
	}
	return s.Create(ctx, h, text)
}

// SubmitOptions say what to submit.
type SubmitOptions struct {
	Spec      string // path
	Owner     string // Defaults to the spec's owner, else the user of the operating system.
	ToolsRoot string // where globbed inputs lie for the workers' read_file
	Durable   bool   // Submit waits until the batch outlives its Redis server
	Stdin     io.Reader
	// Connect opens Redis for a spec whose inputs are another batch's results. It may be called more than once and gives the
	// same store, which the caller closes. Nil refuses such a spec.
	Connect func(context.Context) (*statestore.Store, error)
}

// Submission is a batch that is being handed in.
type Submission struct {
	ID    batch.ID
	Total int64 // jobs; 0 if a plan makes them
	Fed   int64 // jobs that are in, or 1 if the planner's one job is

	load     consignment
	whole    bool // all jobs were in before
	durable  bool
	store    *statestore.Store
	console  *Console
	patience patience
	reuse    *rowReuse // nil runs every job
	arranged bool
	sorted   *prefixorder.Sorter // nil feeds the jobs in the order of the inputs
}

// consignment is what is handed in: a plan, and its jobs as often as they are read.
type consignment struct {
	plan        *spec.Plan
	planner     *spec.Plan // makes the jobs; nil if they are known
	reduce      *spec.Plan // reduces the results; nil if nothing does
	total       int64
	sorted      bool // the jobs are fed in another order than that of the inputs
	payloads    func(context.Context) iter.Seq2[[]byte, error]
	openings    func() []string        // of the prompts of some jobs, see [spec.Plan.Opening]
	fingerprint func() (string, error) // the same for the same plan over the same inputs
	close       func() error
	compiled    *spec.Compiled // nil if the plan was sent
}

func consignmentOf(s *spec.Spec, c *spec.Compiled) consignment {
	return consignment{
		plan: c.Plan, planner: c.Planner, reduce: c.Reduce, total: c.Total, payloads: c.Payloads, openings: c.Openings, fingerprint: c.Fingerprint,
		close: s.Close, compiled: c,
	}
}

// Prepare checks the spec and all its inputs. Nothing is submitted, and Redis is needed only if it holds the inputs. The
// caller closes the Submission.
func Prepare(ctx context.Context, o SubmitOptions, c *Console) (*Submission, error) {
	s, compiled, err := loadSpec(ctx, o, c.Say)
	if err != nil {
		return nil, err
	}
	sub := prepared(s, compiled, c)
	sub.durable = o.Durable
	return sub, nil
}

// prepared is the submission of a spec that was found sound.
func prepared(s *spec.Spec, compiled *spec.Compiled, c *Console) *Submission {
	if compiled.BadCount > 0 {
		c.Say(fmt.Sprintf("%s cannot be used and will fail as BadInput; the first is %s: %s",
			plural(compiled.BadCount, "input", "inputs"), compiled.Bad[0].Where, compiled.Bad[0].Bad))
	}
	return &Submission{load: consignmentOf(s, compiled), Total: compiled.Total, console: c}
}

// Close frees what the inputs hold.
func (s *Submission) Close() error {
	if s.reuse != nil {
		s.reuse.close()
	}
	var err error
	if s.sorted != nil {
		err = s.sorted.Close()
	}
	return errors.Join(err, s.load.close())
}

// fed is the batch whose jobs are handed in, and how many there are: those of the planner, if there is one.
func (s *Submission) fed() (id batch.ID, total int64) {
	if s.load.planner != nil {
		return s.ID.Planner(), 1
	}
	return s.ID, s.Total
}

// Plan is what will be submitted, without the inputs. It is not to be changed.
func (s *Submission) Plan() *spec.Plan { return s.load.plan }

// CheckTools refuses the batch if it asks for a tool that no worker offers, or for more sharing of one than any worker's
// operator allows. While no worker is up nobody can tell, and the user hears that; the same if Redis does not answer,
// which Submit waits for.
func (s *Submission) CheckTools(ctx context.Context, store *statestore.Store) error {
	for _, stage := range []*spec.Plan{s.load.plan, s.load.planner} {
		if stage == nil {
			continue
		}
		if err := s.checkTools(ctx, store, stage); err != nil {
			return err
		}
	}
	return nil
}

func (s *Submission) checkTools(ctx context.Context, store *statestore.Store, plan *spec.Plan) error {
	wanted := plan.Tools
	if len(wanted) == 0 {
		return nil
	}
	workers, err := store.Workers(ctx)
	workers = batch.Live(workers)
	if err != nil || len(workers) == 0 {
		s.console.Say("warning: no worker is up, so nobody can tell whether there are the tools that the spec asks for: " + strings.Join(wanted, ", "))
		return nil
	}
	var offered []string
	able := false
	for _, w := range workers {
		offered = append(offered, w.Tools...)
		able = able || toolset.Missing(wanted, w.Tools) == nil
	}
	if err := toolset.Missing(wanted, offered); err != nil {
		return &UsageError{err}
	}
	if err := narrows(plan, workers); err != nil {
		return &UsageError{err}
	}
	if !able {
		s.console.Say("warning: no single worker offers all the tools that the spec asks for, so the batch waits for one that does: " + strings.Join(wanted, ", "))
	}
	return nil
}

// narrows refuses a plan that asks for more sharing of a tool than any of the workers that offer it allows.
func narrows(plan *spec.Plan, workers []batch.WorkerRecord) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(plan.ToolSettings)) {
		own := plan.ToolSettings[name]
		var refused error
		for _, w := range workers {
			s, known := w.Sharing[toolpool.WireName(name)]
			if !known {
				continue
			}
			t := toolpool.Tool{Name: name, Share: toolpool.Share(s.Share), TTL: s.TTL}
			if _, _, refused = toolpool.Narrow(t, toolpool.Share(own.Share), own.TTL); refused == nil {
				break
			}
		}
		errs = append(errs, refused)
	}
	return errors.Join(errs...)
}

// Submit hands the batch in: all of it, or, when it was interrupted, what was still missing. It survives outages of
// Redis. The batch begins to run with its first jobs.
func (s *Submission) Submit(ctx context.Context, store *statestore.Store) error {
	if err := s.arrange(ctx); err != nil {
		return err
	}
	fingerprint, err := s.fingerprint()
	if err != nil {
		return err
	}
	return s.submit(ctx, store, func(fresh batch.ID) (batch.ID, error) {
		return store.Submission(ctx, fingerprint, fresh)
	})
}

// SubmitOnce is Submit under a key that the caller chose: with the same key, the same spec and inputs make no second
// batch, and another spec or other inputs are refused with [statestore.ErrKeyUsed]. Without a key it always makes a new
// batch. It reports whether the batch was there before.
func (s *Submission) SubmitOnce(ctx context.Context, store *statestore.Store, key string) (before bool, err error) {
	if err := s.arrange(ctx); err != nil {
		return false, err
	}
	var fingerprint string
	if key != "" {
		if fingerprint, err = s.fingerprint(); err != nil {
			return false, err
		}
	}
	err = s.submit(ctx, store, func(fresh batch.ID) (batch.ID, error) {
		if key == "" {
			return fresh, nil
		}
		id, err := store.Once(ctx, key, fingerprint, fresh)
		before = err == nil && id != fresh
		return id, err
	})
	if before && s.whole {
		err = nil // whatever became of it since, it was handed in
	}
	return before, err
}

// submit makes the batch whose ID book gives, and feeds it.
func (s *Submission) submit(ctx context.Context, store *statestore.Store, book func(fresh batch.ID) (batch.ID, error)) error {
	s.store, s.patience = store, patience{store: store, say: s.console.Say}
	if s.durable {
		err := s.patience.do(ctx, func() error { return store.DurableNow(ctx) })
		if errors.Is(err, statestore.ErrNotDurable) {
			return usagef("--durable: %w", err)
		}
		if err != nil {
			return err
		}
	}
	if err := s.begin(ctx, book); err != nil {
		return err
	}
	err := s.feedAll(ctx)
	if err == nil && s.durable {
		return s.settle(ctx)
	}
	id, total := s.fed()
	switch {
	case err == nil && s.reuse != nil:
		s.console.Say(s.reuse.summary(s.Total))
	case err == nil, errors.Is(err, ErrJobsFailed):
	case errors.Is(err, spec.ErrInputsChanged):
		s.console.Say(fmt.Sprintf("%s of %s jobs of batch %s are in, made from the inputs as they were; `coordinator cancel %s` stops it",
			count(s.Fed), count(total), id, s.ID))
	default:
		s.console.Say(fmt.Sprintf("stopped: %s of %s jobs of batch %s are in, and run. The same command again submits the rest; `coordinator cancel %s` stops it.",
			count(s.Fed), count(total), id, s.ID))
	}
	return err
}

// durableWithin bounds the wait for replicas and disks.
const durableWithin = 30 * time.Second

// settle waits until the batch outlives its server. What a failover forgets meanwhile is fed again.
func (s *Submission) settle(ctx context.Context) error {
	where := ""
	id, total := s.fed()
	durable := func() error {
		return s.patience.do(ctx, func() (err error) {
			where, err = s.store.Durable(ctx, id, total, durableWithin)
			return err
		})
	}
	err := durable()
	for errors.Is(err, statestore.ErrConflict) && ctx.Err() == nil {
		s.Fed = 0
		if err = s.feedAll(ctx); err == nil {
			err = durable()
		}
	}
	if err != nil {
		s.console.Say(fmt.Sprintf("all %s jobs of batch %s are in, and run, but nobody can say that they are safe. "+
			"The same command again waits on; `coordinator cancel %s` stops it.", count(total), id, s.ID))
		return err
	}
	s.console.Say(fmt.Sprintf("batch %s is safe: %s", s.ID, where))
	return nil
}

// begin finds the batch to go on with, or makes one.
func (s *Submission) begin(ctx context.Context, book func(fresh batch.ID) (batch.ID, error)) error {
	fresh := statestore.NewID(time.Now())
	err := s.patience.do(ctx, func() (err error) {
		s.ID, err = book(fresh)
		return err
	})
	if err != nil {
		return err
	}
	s.load.sorted = s.sorted != nil
	err = s.patience.do(ctx, func() error { return create(ctx, s.store, s.ID, s.load) })
	if err != nil || s.ID == fresh {
		return err
	}
	id, total := s.fed()
	var info batch.Info
	err = s.patience.do(ctx, func() error {
		info, err = s.store.Info(ctx, id)
		return err
	})
	s.Fed, s.whole = info.Counts.Fed, info.Counts.Total == total
	if err == nil {
		s.console.Say(fmt.Sprintf("going on with batch %s: %s of %s jobs are in already", s.ID, count(s.Fed), count(total)))
	}
	return err
}

// Send writes the batch as [Receive] takes it: a line with the plan and those of its stages, and one per job. A planner's one job is
// not sent.
func (s *Submission) Send(ctx context.Context, w io.Writer) error {
	line, err := json.Marshal(struct {
		Plan    *spec.Plan `json:"plan"`
		Planner *spec.Plan `json:"planner,omitempty"`
		Reduce  *spec.Plan `json:"reduce,omitempty"`
	}{s.load.plan, s.load.planner, s.load.reduce})
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil || s.load.planner != nil {
		return err
	}
	for payload, err := range s.load.payloads(ctx) {
		if err != nil {
			return err
		}
		if _, err := w.Write(append(payload, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// Announced says that the batch's ID has been told: the same spec now makes another batch.
func (s *Submission) Announced(ctx context.Context) error {
	fingerprint, err := s.fingerprint()
	if err != nil {
		return err
	}
	return s.patience.do(ctx, func() error { return s.store.Announced(ctx, fingerprint, s.ID) })
}

func (s *Submission) feedAll(ctx context.Context) error {
	id, total := s.fed()
	ring := func() {
		// A ring is a hint, and workers look by themselves too.
		_ = s.store.Ring(ctx, statestore.Event{Kind: statestore.JobsWaiting, Batch: id})
	}
	place := int64(0)
	for chunk, err := range chunks(s.jobs(ctx)) {
		if err != nil {
			return err
		}
		from := place
		place += int64(len(chunk.payloads))
		if place <= s.Fed {
			continue
		}
		err = s.patience.do(ctx, func() error {
			s.Fed, err = s.store.FeedSorted(ctx, id, from, chunk.indexes, chunk.payloads)
			return err
		})
		if err != nil {
			return s.conflict(ctx, err)
		}
		ring()
	}
	err := s.patience.do(ctx, func() error {
		_, err := s.store.Seal(ctx, id, total)
		return err
	})
	if err != nil {
		return s.conflict(ctx, err)
	}
	ring()
	return nil
}

// conflict finds out why a batch takes no more jobs. Somebody may have submitted the same spec at the same time and
// come to the end first; that is as good.
func (s *Submission) conflict(ctx context.Context, err error) error {
	if !errors.Is(err, statestore.ErrConflict) {
		return err
	}
	id, total := s.fed()
	info, lookErr := s.store.Info(ctx, id)
	switch {
	case lookErr != nil:
		return err
	case info.Phase == batch.Cancelling || info.Counts.Cancelled > 0:
		return fmt.Errorf("batch %s was cancelled while it was being submitted: %w", s.ID, ErrJobsFailed)
	case info.Counts.Total == total:
		s.Fed = total
		return nil
	}
	return err
}
