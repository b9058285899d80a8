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

// loadSpec reads and validates a spec and all its inputs. The caller closes the Spec.
func loadSpec(ctx context.Context, o SubmitOptions, say func(string)) (*spec.Spec, *spec.Prepared, error) {
	s, err := spec.Load(o.Spec, spec.LoadOptions{ToolsRoot: o.ToolsRoot, Stdin: o.Stdin, Earlier: chained(o.Connect, say)})
	if err != nil {
		return nil, nil, inputError(err)
	}
	p, err := compile(ctx, s, o.Owner)
	if err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	for _, note := range p.Notes {
		say(note)
	}
	sayHints(s, say)
	return s, p, nil
}

func sayHints(s *spec.Spec, say func(string)) {
	for _, hint := range s.Hints {
		say("warning: " + hint)
	}
}

// compile reads all inputs. A non-empty owner overrides the spec's. Without either, the owner is the user of the
// operating system.
func compile(ctx context.Context, s *spec.Spec, owner string) (*spec.Prepared, error) {
	p, err := s.Prepare(ctx)
	if err != nil {
		return nil, inputError(err)
	}
	switch {
	case owner != "":
		p.Jobs.Owner = owner
	case p.Jobs.Owner == "":
		if u, err := user.Current(); err == nil {
			p.Jobs.Owner = u.Username
		}
	}
	ownStages(p.Jobs, p.Planner, p.Reducer)
	return p, nil
}

// ownStages copies the owner of a batch to its stages. Nil stages are skipped.
func ownStages(of *spec.Compiled, stages ...*spec.Compiled) {
	for _, stage := range stages {
		if stage != nil {
			stage.Owner = of.Owner
		}
	}
}

// inputError marks an error as the user's: nothing was submitted.
func inputError(err error) error {
	if isUsage(err) {
		return err
	}
	return &UsageError{err}
}

func headerOf(id batch.ID, c *spec.Compiled) batch.Header {
	return batch.Header{
		ID: id, Name: c.Name, Owner: c.Owner, Priority: c.Priority, Model: c.Model, AnyModel: c.AnyModel, Tools: c.Tools,
		MaxAttempts: c.MaxAttempts, TTL: c.TTL, Budget: c.BatchBudget, Prices: c.Prices,
	}
}

// createTries limits the attempts to create a batch. Each failover loses a stage at most once.
const createTries = 5

// create creates the reducer of a batch, the batch, and its planner, each if it exists. It starts over if a failover
// lost one of them meanwhile. It is idempotent.
func create(ctx context.Context, s *statestore.Store, id batch.ID, c consignment) (err error) {
	for range createTries {
		if err = createOnce(ctx, s, id, c); !errors.Is(err, statestore.ErrNotFound) {
			return err
		}
	}
	return err
}

func createOnce(ctx context.Context, s *statestore.Store, id batch.ID, c consignment) error {
	header := headerOf(id, c.compiled)
	header.Sorted = c.sorted
	header.Plan, header.Reduce = c.planner != nil, c.reduce != nil
	if c.reduce != nil {
		c := *c.reduce
		c.Reduces = id
		if err := createOne(ctx, s, headerOf(id.ForStage(batch.StageReduce), &c), &c); err != nil {
			return err
		}
	}
	if err := createOne(ctx, s, header, c.compiled); err != nil || c.planner == nil {
		return err
	}
	planner := *c.planner
	planner.Plans = id
	return createOne(ctx, s, headerOf(id.ForStage(batch.StagePlan), &planner), &planner)
}

func createOne(ctx context.Context, s *statestore.Store, h batch.Header, compiled *spec.Compiled) error {
	text, err := json.Marshal(compiled)
	if err != nil {
		return fmt.Errorf("encode the plan of batch %s: %w", h.ID, err)
	}
	return s.Create(ctx, h, text)
}

// SubmitOptions configure a submission.
type SubmitOptions struct {
	Spec      string // path
	Owner     string // defaults to the spec's owner, then the user of the operating system
	ToolsRoot string // directory of globbed inputs for the workers' read_file
	Durable   bool   // make Submit wait until the batch survives a loss of its Redis server
	Stdin     io.Reader
	// Connect opens Redis for a spec that takes another batch's results as inputs. It may be called several times and must
	// return the same store, which the caller closes. If it is nil, such a spec is an error.
	Connect func(context.Context) (*statestore.Store, error)
}

// Submission is a batch in submission.
type Submission struct {
	ID    batch.ID
	Total int64 // jobs; 0 if a planner makes them
	Fed   int64 // jobs that Redis has, or 1 if it has the planner's one job

	load     consignment
	whole    bool // Redis already had all jobs
	durable  bool
	store    *statestore.Store
	console  *Console
	patience patience
	reuse    *rowReuse // nil runs every job
	arranged bool
	sorted   *prefixorder.Sorter // nil feeds the jobs in the order of the inputs
}

// consignment is the content of a submission: the plans, and the jobs, which can be read repeatedly.
type consignment struct {
	compiled    *spec.Compiled
	planner     *spec.Compiled // makes the jobs; nil if they are known
	reduce      *spec.Compiled // reduces the results; nil without a reduction
	total       int64
	sorted      bool // the jobs are fed in another order than that of the inputs
	payloads    func(context.Context) iter.Seq2[[]byte, error]
	openings    func() []string        // of the prompts of some jobs, see [spec.Compiled.Opening]
	fingerprint func() (string, error) // equal for the same spec over the same inputs
	close       func() error
	prepared    *spec.Prepared // nil if the spec was sent compiled
}

func consignmentOf(s *spec.Spec, p *spec.Prepared) consignment {
	return consignment{
		compiled: p.Jobs, planner: p.Planner, reduce: p.Reducer, total: p.Total, payloads: p.Payloads, openings: p.Openings, fingerprint: p.Fingerprint,
		close: s.Close, prepared: p,
	}
}

// Prepare validates the spec and all its inputs and submits nothing. It needs Redis only if the inputs are in Redis.
// The caller closes the Submission.
func Prepare(ctx context.Context, o SubmitOptions, c *Console) (*Submission, error) {
	s, prepared, err := loadSpec(ctx, o, c.Say)
	if err != nil {
		return nil, err
	}
	sub := submissionOf(s, prepared, c)
	sub.durable = o.Durable
	return sub, nil
}

// prepared returns the submission of a validated spec.
func submissionOf(s *spec.Spec, prepared *spec.Prepared, c *Console) *Submission {
	if prepared.BadCount > 0 {
		c.Say(fmt.Sprintf("%s cannot be used and will fail as BadInput; the first is %s: %s",
			plural(prepared.BadCount, "input", "inputs"), prepared.Bad[0].Where, prepared.Bad[0].Bad))
	}
	return &Submission{load: consignmentOf(s, prepared), Total: prepared.Total, console: c}
}

// Close releases the inputs.
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

// fed returns the batch to feed and its number of jobs: the planner with 1 job if there is one.
func (s *Submission) fed() (id batch.ID, total int64) {
	if s.load.planner != nil {
		return s.ID.ForStage(batch.StagePlan), 1
	}
	return s.ID, s.Total
}

// Compiled returns the compiled spec without inputs. The caller must not change it.
func (s *Submission) Compiled() *spec.Compiled { return s.load.compiled }

// CheckTools returns an error if no worker offers a tool of the batch. It also does if the batch shares a tool more
// widely than every worker's operator allows. If no worker is up, it prints a warning instead. It does the same if
// Redis does not answer; Submit waits for Redis.
func (s *Submission) CheckTools(ctx context.Context, store workerLister) error {
	for _, stage := range []*spec.Compiled{s.load.compiled, s.load.planner} {
		if stage == nil {
			continue
		}
		if err := s.checkTools(ctx, store, stage); err != nil {
			return err
		}
	}
	return nil
}

func (s *Submission) checkTools(ctx context.Context, store workerLister, compiled *spec.Compiled) error {
	wanted := compiled.Tools
	if len(wanted) == 0 {
		return nil
	}
	workers, err := store.Workers(ctx)
	workers = batch.Live(workers)
	if err != nil || len(workers) == 0 {
		s.console.Say("warning: no worker is up, so the tools of the spec cannot be checked:  " + strings.Join(wanted, ", "))
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
	if err := narrows(compiled, workers); err != nil {
		return &UsageError{err}
	}
	if !able {
		s.console.Say("warning: no single worker offers all tools of the spec, so the batch waits for one that does:  " + strings.Join(wanted, ", "))
	}
	return nil
}

// narrows returns an error if a spec shares a tool more widely than every worker that offers it allows.
func narrows(compiled *spec.Compiled, workers []batch.WorkerRecord) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(compiled.ToolSettings)) {
		own := compiled.ToolSettings[name]
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

// Submit submits the batch. If an earlier submission of the same batch was interrupted, it submits only the missing
// jobs. It waits through outages of Redis. The batch starts to run with its first jobs.
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

// SubmitOnce is Submit with a key from the caller. A second call with the same key, spec and inputs creates no second
// batch. The same key with another spec or other inputs returns [statestore.ErrKeyUsed]. An empty key always creates a
// new batch. SubmitOnce reports whether the batch existed before.
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
		err = nil // the submission is complete; the later state of the batch does not matter
	}
	return before, err
}

// submit creates the batch with the ID that book returns, and feeds it.
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
		s.console.Say(fmt.Sprintf("%s of %s jobs of batch %s are submitted, made from the earlier inputs; `coordinator cancel %s` stops it",
			count(s.Fed), count(total), id, s.ID))
	default:
		s.console.Say(fmt.Sprintf("stopped: %s of %s jobs of batch %s are submitted, and run. The same command again submits the rest; `coordinator cancel %s` stops it.",
			count(s.Fed), count(total), id, s.ID))
	}
	return err
}

// durableWithin limits the wait for replicas and disks.
const durableWithin = 30 * time.Second

// settle waits until the batch survives a loss of its server. It feeds jobs again that a failover lost meanwhile.
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
		s.console.Say(fmt.Sprintf("all %s jobs of batch %s are submitted, and run, but Redis has not confirmed that they are safe.  "+
			"The same command again waits on; `coordinator cancel %s` stops it.", count(total), id, s.ID))
		return err
	}
	s.console.Say(fmt.Sprintf("batch %s is safe: %s", s.ID, where))
	return nil
}

// begin finds the batch to resume, or creates one.
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
		s.console.Say(fmt.Sprintf("resuming batch %s: %s of %s jobs are already submitted", s.ID, count(s.Fed), count(total)))
	}
	return err
}

// Send writes the batch in the form that [Receive] reads. The first line has the plans of the batch and its stages;
// each other line has a job. It does not send a planner's one job.
func (s *Submission) Send(ctx context.Context, w io.Writer) error {
	line, err := json.Marshal(struct {
		Plan    *spec.Compiled `json:"plan"`
		Planner *spec.Compiled `json:"planner,omitempty"`
		Reduce  *spec.Compiled `json:"reduce,omitempty"`
	}{s.load.compiled, s.load.planner, s.load.reduce})
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

// Announced records that the user has the batch's ID: the same spec then creates another batch.
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
		// A lost ring is harmless: workers also poll.
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
			s.Fed, err = s.store.FeedSorted(ctx, id, from, chunk.indexes, chunk.rests, chunk.payloads)
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

// conflict returns the reason why a batch accepts no more jobs. It returns nil if another command has completed the
// same submission at the same time.
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
