package agent

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
)

// purse is a budget that records its reservations.
type purse struct {
	stage   *stage
	refuse  error
	asked   []Estimate
	settled []*batch.Usage
}

func (p *purse) Counts() bool { return true }

func (p *purse) Reserve(_ context.Context, _ Wait, e Estimate) (func(context.Context, *batch.Usage), error) {
	if p.stage.held.Load() != 0 {
		return nil, errors.New("a budget is waited for in a slot (I8)")
	}
	p.asked = append(p.asked, e)
	if p.refuse != nil && len(p.asked) > 1 {
		return nil, p.refuse
	}
	return func(_ context.Context, u *batch.Usage) {
		if p.stage.held.Load() != 0 {
			u = &batch.Usage{PromptTokens: -1}
		}
		p.settled = append(p.settled, u)
	}, nil
}

func TestEachModelCallIsReservedAndSettled(t *testing.T) {
	t.Parallel()
	s := &stage{script: []reply{asks(`{}`), fails(backend.RateLimited), says(`{"a":1}`)}}
	p := &purse{stage: s}
	s.budget = p
	r, err := s.run(t, func(c *spec.Compiled) { c.Sampling.MaxTokens = 77 })
	require.NoError(t, err)
	assert.Equal(t, batch.OK, r.Status)
	require.Len(t, p.asked, 3)
	assert.EqualValues(t, 77, p.asked[0].MaxCompletion)
	assert.Positive(t, p.asked[0].PromptTokens)
	assert.Greater(t, p.asked[2].PromptTokens, p.asked[0].PromptTokens)
	used := &batch.Usage{PromptTokens: 10, CachedTokens: 3, CompletionTokens: 2}
	assert.Equal(t, []*batch.Usage{used, {}, used}, p.settled, "a refused call used nothing")
}

func TestBrokenCallCountsAsReserved(t *testing.T) {
	t.Parallel()
	s := &stage{}
	s.generate = func(_ context.Context, o backend.Observer) (*backend.Response, error) {
		if len(s.requests) == 1 {
			o.FirstToken()
			return nil, &backend.Error{Class: backend.Transient, Message: "cut"}
		}
		return says(`{"a":1}`).resp, nil
	}
	p := &purse{stage: s}
	s.budget = p
	_, err := s.run(t, nil)
	require.NoError(t, err)
	require.Len(t, p.settled, 2)
	assert.Nil(t, p.settled[0])
}

func TestAgentWithoutBudgetEndsAtTurnBoundary(t *testing.T) {
	t.Parallel()
	refused := errors.New("used up")
	s := &stage{script: []reply{asks(`{}`), says(`{"a":1}`)}}
	s.budget = &purse{stage: s, refuse: refused}
	_, err := s.run(t, nil)
	require.ErrorIs(t, err, refused)
	assert.Len(t, s.journal, 1, "the paid turn is kept")
	assert.Len(t, s.requests, 1)
}

func TestMissingUsageIsEstimated(t *testing.T) {
	t.Parallel()
	prices := func(c *spec.Compiled) { c.Prices = batch.Prices{Prompt: 1, Cached: 1, Completion: 1} }
	for name, c := range map[string]struct {
		reported  backend.Usage
		change    func(*spec.Compiled)
		want      batch.Usage // 0 prompt or completion tokens with Estimated: any number above 0
		estimated bool
	}{
		"all of it":      {reported: backend.Usage{PromptTokens: 5, CachedTokens: 1, CompletionTokens: 2}, change: prices, want: batch.Usage{PromptTokens: 5, CachedTokens: 1, CompletionTokens: 2}},
		"nothing":        {change: prices, estimated: true},
		"only an answer": {reported: backend.Usage{CompletionTokens: 2}, change: prices, want: batch.Usage{CompletionTokens: 2}, estimated: true},
		"only a prompt":  {reported: backend.Usage{PromptTokens: 5}, change: prices, want: batch.Usage{PromptTokens: 5}, estimated: true},
		"below nothing":  {reported: backend.Usage{PromptTokens: -5, CompletionTokens: -9}, change: prices, estimated: true},
		"too much cache": {reported: backend.Usage{PromptTokens: 5, CachedTokens: 50, CompletionTokens: 2}, want: batch.Usage{PromptTokens: 5, CachedTokens: 5, CompletionTokens: 2}},
		"no count":       {},
		"a job's budget": {change: func(c *spec.Compiled) { c.JobBudget.Tokens = 10_000 }, estimated: true},
	} {
		answer := says(`{"a":1}`)
		answer.resp.Usage = c.reported
		s := &stage{script: []reply{answer}}
		r, err := s.run(t, c.change)
		require.NoError(t, err, name)
		assert.Equal(t, c.estimated, r.Usage.Estimated, name)
		if c.estimated {
			assert.Positive(t, r.Usage.PromptTokens, name)
			assert.Positive(t, r.Usage.CompletionTokens, name)
		}
		if c.want.PromptTokens > 0 || !c.estimated {
			assert.Equal(t, c.want.PromptTokens, r.Usage.PromptTokens, name)
		}
		if c.want.CompletionTokens > 0 || !c.estimated {
			assert.Equal(t, c.want.CompletionTokens, r.Usage.CompletionTokens, name)
		}
		assert.Equal(t, c.want.CachedTokens, r.Usage.CachedTokens, name)
	}
}
