package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// Reasons for which a plain worker stops a job.
var (
	errHandedBack = errors.New("handed back")
	errCancelled  = errors.New("cancelled")
)

// plainWorker is a minimal worker that calls the store directly.
type plainWorker struct {
	world *world
	proc  *process
	store *statestore.Store

	mu   sync.Mutex
	live map[batch.Job]*plainJob // guarded by mu
	done []*plainJob             // guarded by mu; waiting to be committed
	jobs sync.WaitGroup
}

type plainJob struct {
	lease  batch.Lease
	alone  bool // no other job may run beside it
	cancel context.CancelCauseFunc
	result batch.Result
}

// startWorker starts the next process in a slot.
func (w *world) startWorker(s *slot) {
	if w.cfg.Mode == Full {
		w.start(s, w.runFull)
		return
	}
	w.start(s, func(ctx context.Context, p *process, drain <-chan struct{}) error {
		store, err := w.connect(ctx, p)
		if err != nil {
			return err
		}
		defer store.Close()
		pw := &plainWorker{world: w, proc: p, store: store, live: make(map[batch.Job]*plainJob)}
		return pw.serve(ctx, drain)
	})
}

// serve claims jobs until the drain begins, and returns once no job is live.
func (p *plainWorker) serve(ctx context.Context, drain <-chan struct{}) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	beating, stop := context.WithCancel(ctx)
	var heart sync.WaitGroup
	heart.Go(func() { p.heartbeat(beating, fail) })
	p.claim(ctx, drain, fail)
	p.jobs.Wait()
	stop()
	heart.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return nil
}

// claim claims jobs for the free room until the drain begins.
func (p *plainWorker) claim(ctx context.Context, drain <-chan struct{}, fail context.CancelCauseFunc) {
	unsure := make(map[batch.ID]bool)
	for i := 0; ctx.Err() == nil; i++ {
		id := p.world.cfg.batches()[i%len(p.world.cfg.batches())]
		r := p.world.chance.on("claim", p.proc.name, strconv.Itoa(i))
		pause := time.NewTimer(between(r, p.world.cfg.lease/20, p.world.cfg.lease/4))
		select {
		case <-drain:
			pause.Stop()
			return
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if unsure[id] {
			if err := p.reconcile(ctx, id); err != nil {
				continue
			}
			unsure[id] = false
		}
		p.mu.Lock()
		room, idle := p.world.cfg.maxAgents-len(p.live), len(p.live) == 0
		for _, j := range p.live {
			if j.alone {
				room = 0
			}
		}
		p.mu.Unlock()
		if room <= 0 {
			continue
		}
		phase, jobs, err := p.store.Claim(ctx, statestore.ClaimParams{
			Batch: id, Consumer: p.proc.name, Count: 1 + r.IntN(room), Lease: p.world.cfg.lease, Idle: idle,
		})
		if err != nil {
			unsure[id] = true
			if !tolerable(err) && !statestore.Unreachable(err) {
				fail(err)
			}
			continue
		}
		for _, c := range jobs {
			p.admit(ctx, drain, phase, c, fail)
		}
	}
}

// reconcile releases leases that were granted in a lost answer.
func (p *plainWorker) reconcile(ctx context.Context, id batch.ID) error {
	held, err := p.store.Held(ctx, id, p.proc.name, 1000)
	if err != nil {
		return err
	}
	p.mu.Lock()
	lost := slices.DeleteFunc(held, func(l batch.Lease) bool {
		j := p.live[l.Job]
		return j != nil && j.lease.Token == l.Token
	})
	p.mu.Unlock()
	if len(lost) == 0 {
		return nil
	}
	return p.store.Release(ctx, id, lost)
}

func (p *plainWorker) admit(ctx context.Context, drain <-chan struct{}, phase batch.Phase, c statestore.Claimed, fail context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	j := &plainJob{lease: c.Lease, alone: c.Alone, cancel: cancel}
	p.mu.Lock()
	old := p.live[c.Lease.Job]
	p.live[c.Lease.Job] = j
	p.mu.Unlock()
	if old != nil {
		old.cancel(statestore.ErrFenced)
	}
	p.jobs.Go(func() {
		defer cancel(nil)
		err := errHandedBack // Redis lost the grant of this live lease and repeated it
		if old == nil || old.lease != c.Lease {
			err = p.play(ctx, drain, phase, c, j)
		}
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		var question string
		if c.Lease.Job.Batch == batchID {
			var fault error
			if question, fault = p.world.cfg.question(c.Payload); fault != nil {
				fail(fault)
			}
		}
		switch {
		case err == nil:
			j.result.Question = question
			err = p.commit(context.WithoutCancel(ctx), j)
		case errors.Is(err, errCancelled):
			j.result = ended(j.lease, batch.StatusCancelled, batch.JobCancelled, 0)
			j.result.Question = question
			err = p.commit(context.WithoutCancel(ctx), j)
		case errors.Is(err, errHandedBack), errors.Is(err, statestore.ErrConflict): // or Redis lost turns of it
			p.drop(j)
			err = p.store.UntilKnown(ctx, func() error { return p.store.Release(ctx, j.lease.Job.Batch, []batch.Lease{j.lease}) })
		default:
			p.drop(j)
		}
		if err != nil && !errors.Is(err, statestore.ErrFenced) && !tolerable(err) && !statestore.Unreachable(err) && !errors.Is(err, context.Canceled) {
			fail(err)
		}
	})
}

// play runs the turns that are missing in the journal. The seed, the job and the token determine a turn's course.
func (p *plainWorker) play(ctx context.Context, drain <-chan struct{}, phase batch.Phase, c statestore.Claimed, j *plainJob) error {
	cfg := p.world.cfg
	switch {
	case phase == batch.Cancelling:
		return errCancelled
	case c.Exhausted:
		j.result = ended(j.lease, batch.StatusFailed, batch.WorkerLost, len(c.Journal))
		return nil
	}
	index := strconv.FormatInt(c.Lease.Job.Index, 10)
	text := "seen"
	if c.Lease.Job.Batch == reducerID {
		index = "reduction"
		var err error
		if text, err = p.reduce(ctx); err != nil {
			return err
		}
	}
	if err := p.bind(ctx, c.Lease); err != nil {
		return err
	}
	turns := 1 + p.world.chance.on("turns", index).IntN(cfg.turns)
	r := p.world.chance.on("play", index, strconv.FormatInt(c.Lease.Token, 10))
	began := p.world.now() // makes each run of a turn different
	for turn := len(c.Journal) + 1; turn <= turns; turn++ {
		if err := p.reserve(ctx, c.Lease, int64(turn)); err != nil {
			return err
		}
		if cfg.budget > 0 && likely(r, cfg.handBack) {
			return errHandedBack // during a call
		}
		err := sleep.For(ctx, between(r, time.Millisecond, cfg.turnTime))
		if err = errors.Join(err, p.settle(c.Lease, int64(turn))); err != nil {
			return err
		}
		data := fmt.Appendf(nil, `{"job":%q,"turn":%d,"token":%d,"began":%d}`, index, turn, c.Lease.Token, began)
		err = p.store.UntilKnown(ctx, func() error { return p.store.Checkpoint(ctx, c.Lease, turn, data) })
		if err != nil {
			return err
		}
		select {
		case <-drain:
			return errHandedBack
		default:
		}
		if likely(r, cfg.handBack) {
			return errHandedBack
		}
	}
	j.result = ended(j.lease, batch.OK, "", turns)
	j.result.Output = fmt.Appendf(nil, `{"text":%q}`, text)
	if likely(r, cfg.failing) {
		reasons := []batch.ErrorType{batch.Timeout, batch.OutputInvalid}
		j.result = ended(j.lease, batch.StatusFailed, reasons[r.IntN(2)], turns)
	}
	return nil
}

// commit sends the result together with the results of the next moment. A job stays live until its commit is acknowledged.
// Otherwise reconcile would release it.
func (p *plainWorker) commit(ctx context.Context, j *plainJob) error {
	p.mu.Lock()
	p.done = append(p.done, j)
	first := len(p.done) == 1
	p.mu.Unlock()
	if !first {
		return nil // the first job's goroutine commits this result too
	}
	r := p.world.chance.on("commit", p.proc.name, p.world.now().String())
	_ = sleep.For(ctx, between(r, time.Millisecond, 200*time.Millisecond))
	p.mu.Lock()
	done := p.done
	p.done = nil
	p.mu.Unlock()
	slices.SortFunc(done, func(a, b *plainJob) int { return inOrder(a.lease, b.lease) })
	var err error
	for _, id := range p.world.cfg.batches() {
		of := slices.DeleteFunc(slices.Clone(done), func(j *plainJob) bool { return j.lease.Job.Batch != id })
		for part := range slices.Chunk(of, statestore.MaxFinish) {
			completions := make([]statestore.Completion, len(part))
			for i, j := range part {
				completions[i] = statestore.Completion{Lease: j.lease, Result: j.result}
			}
			err = errors.Join(err, p.finish(id, completions))
		}
	}
	for _, j := range done {
		p.drop(j)
	}
	return err
}

// finish retries until Redis answers or the process is dead.
func (p *plainWorker) finish(id batch.ID, c []statestore.Completion) error {
	ctx := p.world.life
	return p.store.UntilKnown(ctx, func() error {
		if p.proc.gone() {
			return errHandedBack
		}
		_, _, err := p.store.Finish(ctx, id, c)
		return err
	})
}

func (p *plainWorker) drop(j *plainJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live[j.lease.Job] == j {
		delete(p.live, j.lease.Job)
	}
}

// heartbeat renews all leases three times per lease, and stops jobs that were lost or cancelled.
func (p *plainWorker) heartbeat(ctx context.Context, fail context.CancelCauseFunc) {
	for sleep.For(ctx, p.world.cfg.lease/3) == nil {
		for _, id := range p.world.cfg.batches() {
			p.renew(ctx, id, fail)
		}
	}
}

func (p *plainWorker) renew(ctx context.Context, id batch.ID, fail context.CancelCauseFunc) {
	p.mu.Lock()
	var leases []batch.Lease
	for job, j := range p.live {
		if job.Batch == id {
			leases = append(leases, j.lease)
		}
	}
	p.mu.Unlock()
	if len(leases) == 0 {
		return
	}
	slices.SortFunc(leases, inOrder)
	call, cancel := context.WithTimeout(ctx, p.world.cfg.lease/3)
	phase, fenced, err := p.store.Renew(call, id, p.proc.name, p.world.cfg.lease, leases)
	cancel()
	if err != nil && !statestore.Unreachable(err) && ctx.Err() == nil {
		fail(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for job, j := range p.live {
		if slices.Contains(fenced, j.lease) {
			j.cancel(statestore.ErrFenced)
		} else if err == nil && phase == batch.Cancelling && job.Batch == id {
			j.cancel(errCancelled)
		}
	}
}

// inOrder compares leases. After losing a claim, Redis may grant its token again to another job of the same worker.
func inOrder(a, b batch.Lease) int {
	return cmp.Or(cmp.Compare(a.Token, b.Token), cmp.Compare(a.Job.Index, b.Job.Index))
}

// reduce reads all results, like a real reducer, and returns their summary.
func (p *plainWorker) reduce(ctx context.Context) (string, error) {
	statuses := make(map[int64]batch.Status)
	for after := int64(0); ; {
		var got []statestore.Entry
		err := p.store.UntilKnown(ctx, func() (err error) {
			got, err = p.store.Results(ctx, batchID, after, 7)
			return err
		})
		if err != nil || len(got) == 0 {
			return sumUpOf(statuses), err
		}
		for _, e := range got {
			statuses[e.Index], after = e.Status, e.Cursor
		}
	}
}

// ended returns the result of a job.
func ended(l batch.Lease, s batch.Status, reason batch.ErrorType, turns int) batch.Result {
	r := batch.Result{
		Batch: l.Job.Batch, JobID: batch.JobID(l.Job.Index), Index: l.Job.Index, Status: s, Attempts: l.Attempt,
		Turns: turns, Usage: batch.Usage{PromptTokens: int64(100 * turns), CompletionTokens: int64(turns)},
		Worker: l.Holder,
	}
	if reason != "" {
		r.Error = batch.NewError(reason, "decided by the seed")
	} else {
		r.Output = []byte(`{"ok":true}`)
	}
	return r
}
