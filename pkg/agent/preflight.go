package agent

import (
	"context"
	"fmt"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// preflight renders the prompt, makes its preloaded calls, checks that it fits, and rebuilds the conversation from the journal.
func (a *attempt) preflight(s *scope) error {
	if err := s.over(); err != nil {
		return err
	}
	asked, err := a.prompt(s)
	a.task, a.whole = asked.Prompt, asked.Input
	if err != nil || a.def.agent != nil || a.reused != nil || a.ended != nil || a.reduction != nil {
		return err
	}
	turns := make([]Turn, len(a.job.Turns))
	for i, data := range a.job.Turns {
		if turns[i], err = decodeTurn(data); err != nil {
			return fmt.Errorf("read turn %d of the journal: %w", i+1, err)
		}
	}
	if err := a.preload(s, asked.Calls, turns); err != nil {
		return err
	}
	a.conv = newConversation(a.def.system, a.preloaded, asked.Prompt, a.def.contextWindow(), a.def.keep)
	for _, t := range turns {
		a.add(t)
		a.turns++
		a.usage.AddTurn(t.Usage)
		a.counts.Add(t.Counts)
		a.served = t.Model
		a.leave(t.LeftOut)
	}
	if a.conv.turns > 0 {
		return nil // the server has accepted this conversation before
	}
	return a.checkSize(s)
}

// prompt reads the payload, and returns the content of the job's question. It looks for a result that answers the job already.
func (a *attempt) prompt(s *scope) (spec.Asked, error) {
	payload, err := spec.DecodePayload(a.job.Payload)
	if err != nil {
		return spec.Asked{}, batch.NewError(batch.BadInput, fmt.Sprintf("the input cannot be read: %v", err))
	}
	a.item, a.ended = payload.Item, payload.Ended
	if a.ended != nil {
		return spec.Asked{}, nil
	}
	a.row = payload.Row
	if a.id, a.input, err = a.def.row(&payload); err != nil {
		return spec.Asked{}, batch.NewError(batch.BadInput, err.Error())
	}
	if payload.Reduce != nil {
		a.reduction = payload.Reduce
		return spec.Asked{}, nil
	}
	a.fields = payload.Input
	asked, bad := a.def.asked(&payload)
	if bad != "" {
		a.question = a.def.asks.Unusable(bad)
		return spec.Asked{}, batch.NewError(batch.BadInput, bad)
	}
	a.question = a.def.asks.For(asked)
	if a.def.question != nil {
		a.fingerprint = a.def.question.For(asked)
	}
	if a.usable(payload.Reuse) {
		a.reused = payload.Reuse
	}
	return asked, a.awaitTwin(s, payload)
}

// checkSize has the server count the prompt's tokens, but only if the prompt may be too long. No tokenizer needs more
// than one token for two bytes of ordinary text, so a shorter prompt costs no round trip. If a prompt is too long all
// the same, the server refuses it.
func (a *attempt) checkSize(s *scope) error {
	window := a.def.contextWindow()
	if a.counter == nil || window <= 0 || a.requestBytes()/2 <= window {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.work, a.def.turnTimeout)
	defer cancel()
	tokens, err := a.counter.CountTokens(ctx, a.def.request(a.job, a.def.next(0, false), a.conv.messages))
	if over := s.over(); over != nil {
		return over
	}
	if err != nil {
		a.log.DebugContext(ctx, "prompt could not be counted; the server will judge it", "error", err)
		return nil
	}
	if tokens >= window {
		return batch.NewError(batch.Oversized, fmt.Sprintf("the prompt has %d tokens; the model's context is %d", tokens, window))
	}
	return nil
}

func (a *attempt) requestBytes() int {
	n := 0
	for _, m := range a.conv.messages {
		n += len(m.Content)
	}
	for _, t := range a.def.tools {
		n += len(t.Description) + len(t.Parameters)
	}
	return n
}

// Finished reports whether the response has a finish reason. A call without one is broken, whatever its content.
func Finished(r *backend.Response) bool {
	switch r.Finish {
	case backend.FinishStop, backend.FinishToolCalls, backend.FinishLength, backend.FinishRefused:
		return true
	default:
		return false
	}
}
