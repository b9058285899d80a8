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

// accountState is a batch's account in Redis.
type accountState struct {
	limit, counted int               // the budget, and the usage in committed results, in tokens
	sums           [11]int           // see lua/prelude.lua
	calls          map[string]string // index -> part of the account
}

func (l accountState) used() int     { return l.counted + l.sums[8] + l.sums[10] }
func (l accountState) reserved() int { return l.sums[1] + l.sums[3] }

func readAccount(meta, calls map[string]string) accountState {
	l := accountState{limit: number(meta["cap_tokens"]), counted: number(meta["prompt"]) + number(meta["completion"]), calls: calls}
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
	for _, ended := range c.named.Ended {
		name := ended.Index + "/" + ended.Call
		if _, ok := k.calls.open[name]; ok {
			delete(k.calls.open, name)
			if u := ended.Usage; u != nil {
				k.calls.spent += u[0] + u[2]
			} else {
				k.calls.unknown = true
			}
		}
	}
	codes, _ := c.reply.([]any)
	for i, wanted := range c.named.Wanted {
		name := wanted.Index + "/" + wanted.Call
		if _, known := k.calls.open[name]; 1+i >= len(codes) || codes[1+i] != int64(1) || known {
			continue
		}
		k.calls.open[name] = number(wanted.Index)
		if k.calls.spent >= was.account.limit {
			k.fail("I12", "%s began a call of job %s; %d of %d tokens were used", proc, wanted.Index, k.calls.spent, was.account.limit)
		}
		if is.account.used()+is.account.reserved() > is.account.limit && is.account.sums[0] > 1 {
			k.fail("I12", "%s began a call of job %s; %d tokens are used and %d reserved of %d", proc, wanted.Index,
				is.account.used(), is.account.reserved(), is.account.limit)
		}
	}
}

// reservations checks that each reservation belongs to a held lease, and that the account counts all usage.
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
	k.calls.spent += max(0, min(st.account.used()-k.calls.spent, dropped*maxCallTokens))
	var sums [4]int
	for index, part := range st.account.calls {
		words := strings.Fields(part)
		if st.finished[number(index)] {
			k.fail("I12", "job %s has a result, and the account still has %q of it", index, part)
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
	if got := [4]int(st.account.sums[:4]); got != sums {
		k.fail("I12", "the account counts %v as reserved; its calls are %v", got, sums)
	}
	if !k.retried && !k.calls.unknown && st.account.used() != k.calls.spent {
		k.fail("I12", "%d tokens count as used; settled calls used %d", st.account.used(), k.calls.spent)
	}
}
