package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// A third of the runs that neither reduce nor lose writes have a budget, which runs out now and then. A user raises it; the last
// raise removes the limit.

// Tokens that each turn of a plain worker uses.
const turnPrompt, turnCompletion = 100, 1

// limited gives the batch a budget. Runs that reduce or lose writes have none, because the checker's record of calls covers one
// batch and is never reset.
func (c *Config) limited(r *rand.Rand) {
	c.budget = int64(between(r, 200, time.Duration(c.jobs*c.turns*(turnPrompt+turnCompletion)/2+201)))
}

// raise increases the budget, so that a paused batch continues. After the last fault it removes the limit.
func (w *world) raise() {
	if w.cfg.budget == 0 || w.busy > 0 || !w.net.isCalm() && !likely(w.chance.on("raise", w.now().String()), 0.02) {
		return
	}
	if w.net.isCalm() && w.unlimited {
		return
	}
	w.raised++
	limit := w.cfg.budget * int64(1+w.raised)
	if w.net.isCalm() {
		limit, w.unlimited = 1_000_000_000, true
	}
	w.startUser("budget", func(ctx context.Context, s *statestore.Store) error {
		return unless(tolerable, s.UntilKnown(ctx, func() error { return s.SetBudget(ctx, batchID, batch.Budget{Tokens: limit}) }))
	})
}

// reserve waits for the reservation of a turn's model call.
func (p *plainWorker) reserve(ctx context.Context, l batch.Lease, call int64) error {
	if p.world.cfg.budget == 0 {
		return nil
	}
	want := statestore.WantedCall{Call: statestore.Call{Lease: l, Number: call}, PromptTokens: turnPrompt, MaxCompletion: 4 * turnPrompt}
	for range 20 {
		var got []statestore.Grant
		err := p.store.UntilKnown(ctx, func() (err error) {
			_, got, err = p.store.Spend(ctx, l.Job.Batch, nil, []statestore.WantedCall{want})
			return err
		})
		switch {
		case err != nil:
			return err
		case got[0] == statestore.Granted:
			return nil
		case got[0] == statestore.NoLease:
			return statestore.ErrFenced
		case got[0] == statestore.UsedUp:
			return errHandedBack
		}
		if err := sleep.For(ctx, p.world.cfg.lease/20); err != nil {
			return err
		}
	}
	return errHandedBack
}

// settle records the usage of a call, even when the job was lost in the meantime.
func (p *plainWorker) settle(l batch.Lease, call int64) error {
	if p.world.cfg.budget == 0 {
		return nil
	}
	ended := statestore.EndedCall{
		Call:  statestore.Call{Lease: l, Number: call},
		Usage: &batch.Usage{PromptTokens: turnPrompt, CompletionTokens: turnCompletion},
	}
	ctx := p.world.life
	return p.store.UntilKnown(ctx, func() error {
		if p.proc.gone() {
			return errHandedBack
		}
		_, _, err := p.store.Spend(ctx, l.Job.Batch, []statestore.EndedCall{ended}, nil)
		return err
	})
}

// ledgerState is the state of the reservations in Redis.
type ledgerState struct {
	limit, counted int               // the budget, and the usage in committed results, in tokens
	sums           [11]int           // see lua/prelude.lua
	calls          map[string]string // index -> part of the ledger
}

func (l ledgerState) used() int     { return l.counted + l.sums[8] + l.sums[10] }
func (l ledgerState) reserved() int { return l.sums[1] + l.sums[3] }

func readLedger(meta, calls map[string]string) ledgerState {
	l := ledgerState{limit: number(meta["cap_tokens"]), counted: number(meta["prompt"]) + number(meta["completion"]), calls: calls}
	for i, word := range strings.Fields(meta["ledger"]) {
		l.sums[i] = number(word)
	}
	return l
}

// maxCallTokens is more than any call of a run uses.
const maxCallTokens = 1_000

// budgetBooks is the checker's record of model calls.
type budgetBooks struct {
	open  map[string]int // name -> index of the job; calls that were granted, not yet settled, and not dropped with their job
	spent int            // tokens of all settled calls
	// unknown is set once a call was settled without its usage.
	unknown bool
}

// spend checks one run of the spend script (I12). A call may begin only if budget is left, and only if it fits or no other call
// runs.
func (k *checker) spend(proc string, c call, was, is *state) {
	if k.calls.open == nil {
		k.calls.open = map[string]int{}
	}
	n := number(c.args[0])
	for a := 1; a < 1+6*n; a += 6 {
		name := c.args[a] + "/" + c.args[a+1]
		if _, ok := k.calls.open[name]; ok {
			delete(k.calls.open, name)
			if c.args[a+2] == "1" {
				k.calls.spent += number(c.args[a+3]) + number(c.args[a+5])
			} else {
				k.calls.unknown = true
			}
		}
	}
	codes, _ := c.reply.([]any)
	for i, a := 1, 1+6*n; a < len(c.args) && i < len(codes); i, a = i+1, a+5 {
		name := c.args[a] + "/" + c.args[a+2]
		if _, known := k.calls.open[name]; codes[i] != int64(1) || known {
			continue
		}
		k.calls.open[name] = number(c.args[a])
		if k.calls.spent >= was.ledger.limit {
			k.fail("I12", "%s began a call of job %s; %d of %d tokens were used", proc, c.args[a], k.calls.spent, was.ledger.limit)
		}
		if is.ledger.used()+is.ledger.reserved() > is.ledger.limit && is.ledger.sums[0] > 1 {
			k.fail("I12", "%s began a call of job %s; %d tokens are used and %d reserved of %d", proc, c.args[a],
				is.ledger.used(), is.ledger.reserved(), is.ledger.limit)
		}
	}
}

// reservations checks that each reservation belongs to a held lease, and that the ledger counts all usage.
func (k *checker) reservations(st *state) {
	if k.cfg.budget == 0 || !st.exists {
		return
	}
	dropped := 0
	for name, index := range k.calls.open { // a zombie's call is dropped with its job
		if st.finished[index] {
			delete(k.calls.open, name)
			dropped++
		}
	}
	// A result includes the usage of calls that its worker had no time to settle.
	k.calls.spent += max(0, min(st.ledger.used()-k.calls.spent, dropped*maxCallTokens))
	var sums [4]int
	for index, part := range st.ledger.calls {
		words := strings.Fields(part)
		if st.finished[number(index)] {
			k.fail("I12", "job %s has a result, and the ledger still has %q of it", index, part)
		}
		for i := 3; i+4 < len(words); i += 5 {
			if words[i+4] != "1" {
				continue
			}
			f := st.lease[number(index)]
			if token, _, _ := strings.Cut(words[i], "."); !f.held() || fmt.Sprint(f.token) != token {
				k.fail("I12", "call %s of job %s is reserved; the job is held as %v", words[i], index, f)
			}
			sums[0]++
			for j := range 3 {
				sums[1+j] += number(words[i+1+j])
			}
		}
	}
	if got := [4]int(st.ledger.sums[:4]); got != sums {
		k.fail("I12", "the ledger counts %v as reserved; its calls are %v", got, sums)
	}
	if !k.retried && !k.calls.unknown && st.ledger.used() != k.calls.spent {
		k.fail("I12", "%d tokens count as used; settled calls used %d", st.ledger.used(), k.calls.spent)
	}
}
