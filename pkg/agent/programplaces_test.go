package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Equal calls of a tool have different places in the effect log. A call that an attempt began and did not finish has the same place in
// the next attempt, so that its effect is not repeated.
func TestEffectsOfProgramsKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	dies := errors.New("dies")
	h := &host{}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		for _, args := range []string{`{"n":1}`, `{"n":2}`, `{"n":1}`, `{"n":1}`} {
			if _, err := calls.CallTool(ctx, "look", json.RawMessage(args)); err != nil {
				return ProgramAnswer{}, err
			}
		}
		return ProgramAnswer{Text: "done"}, nil
	}
	for finished := range 4 { // the attempt dies while its next call runs
		h.afterTool = func() error {
			if len(h.journal) == finished {
				return dies
			}
			return nil
		}
		_, err := h.run(t)
		require.ErrorIs(t, err, dies)
		h.afterTool = func() error {
			if len(h.journal) > finished {
				return dies
			}
			return nil
		}
		_, err = h.run(t)
		if finished < 3 {
			require.ErrorIs(t, err, dies)
		} else {
			require.NoError(t, err)
		}
	}
	places := map[[2]int]string{}
	for _, c := range h.tools {
		place := [2]int{c.Turn, c.Index}
		if earlier, known := places[place]; known {
			assert.Equal(t, earlier, c.Arguments)
		}
		places[place] = c.Arguments
		assert.Positive(t, c.Turn)
	}
	assert.Len(t, places, 4, "four effects, each with one place in all attempts")
}

// With parallel calls, a later one may be in the journal while an earlier one is not.
func TestUnfinishedEffectKeepsItsPlaceBesideALaterOne(t *testing.T) {
	t.Parallel()
	second := toolTurn("k", "look", 1, toolpool.Result{Content: "second"})
	j := &programJournal{turns: []Turn{second}}
	j.rewind()
	_, found := j.take("k")
	require.True(t, found)
	_, index := j.place("k")
	assert.Equal(t, 0, index)
	_, index = j.place("k")
	assert.Equal(t, 2, index)
}

// Tool calls under way are no model calls, and each model call under way has a number of its own.
func TestOnlyModelCallsCountAsTurns(t *testing.T) {
	t.Parallel()
	h := &host{change: func(c *spec.Compiled) { c.MaxTurns = 2 }}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		block := make(chan struct{})
		h.afterTool = func() error { <-block; return nil }
		var tools sync.WaitGroup
		for i := range 5 {
			tools.Go(func() {
				_, err := calls.CallTool(ctx, "look", json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)))
				assert.NoError(t, err)
			})
		}
		for i := range 2 {
			if _, err := ask(ctx, calls, fmt.Sprint(i)); err != nil {
				return ProgramAnswer{}, err
			}
		}
		close(block)
		tools.Wait()
		return ProgramAnswer{Text: "done"}, nil
	}
	r, err := h.run(t)
	require.NoError(t, err)
	require.Nil(t, r.Error)
	assert.Equal(t, 2, r.Turns)
	assert.Equal(t, map[string]int{"b_1/job-7#1": 1, "b_1/job-7#2": 1}, h.ids)
}

func TestTalks(t *testing.T) {
	t.Parallel()
	say := func(texts ...string) (out []backend.Message) {
		for _, text := range texts {
			out = append(out, backend.Message{Role: backend.RoleUser, Content: text})
		}
		return out
	}
	talks := newTalks("j")
	find := func(texts ...string) string {
		session, release := talks.find(say(texts...))
		release()
		return session
	}
	assert.Equal(t, "j", find("sys", "main"))
	assert.Equal(t, "j~1", find("sys", "sub"))
	assert.Equal(t, "j", find("sys", "main", "a", "b"))
	assert.Equal(t, "j~1", find("sys", "sub", "c"))
	assert.Equal(t, "j~2", find("sys", "main", "z"), "an earlier state of a conversation is another branch")
	_, release := talks.find(say("sys", "main", "a", "b", "c"))
	other, _ := talks.find(say("sys", "main", "a", "b", "d"))
	assert.Equal(t, "j~3", other, "a conversation has one request under way")
	release()
	for i := range 2 * maxTalks {
		find(fmt.Sprint(i))
	}
	assert.Len(t, talks.known, maxTalks)
}
