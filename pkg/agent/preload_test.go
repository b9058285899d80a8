package agent

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// preloading adds a call of open to a spec.
func preloading(c *spec.Compiled) {
	c.Preload = []spec.Preload{{Tool: "open", Args: json.RawMessage(`{"path":"{x}.md"}`)}}
}

func TestPreloadedResultStandsBeforeThePrompt(t *testing.T) {
	t.Parallel()
	s := &stage{script: []reply{says(`{"a":1}`)}}
	r, err := s.run(t, func(c *spec.Compiled) {
		preloading(c)
		c.Tools, c.Transcripts = nil, true
	})
	require.NoError(t, err)
	require.Equal(t, batch.OK, r.Status, r.Error)
	lead := "<open {\"path\":\"it.md\"}>\nseen {\"path\":\"it.md\"}\n</open>\n\n"
	require.Len(t, s.requests, 1, "one turn is enough")
	assert.Equal(t, []backend.Message{
		{Role: backend.RoleSystem, Content: "sys"},
		{Role: backend.RoleUser, Content: lead + "do it", Lead: len(lead)},
	}, s.requests[0].Messages)
	assert.NotNil(t, s.requests[0].Schema, "the agent has no tool, so the first turn enforces the schema")
	assert.Equal(t, batch.ToolCounts{Asked: 1, Executed: 1}, r.Tools)
	var turns []Turn
	require.NoError(t, json.Unmarshal(r.Transcript, &turns))
	require.Len(t, turns, 1)
	assert.Equal(t, []Preloaded{{Tool: "open", Arguments: `{"path":"it.md"}`, Content: `seen {"path":"it.md"}`, Executed: true}}, turns[0].Preloaded)
}

func TestTakeoverSendsThePreloadedResultOfTheJournal(t *testing.T) {
	t.Parallel()
	s := &stage{script: []reply{asks(`{}`), fails(backend.InvalidRequest)}}
	_, err := s.run(t, preloading)
	require.NoError(t, err)
	require.Len(t, s.journal, 1)
	before := s.requests[1].Messages

	s.script = []reply{says(`{"a":1}`)}
	s.tool = func(context.Context, toolpool.Call) (toolpool.Result, error) {
		return toolpool.Result{Content: "changed"}, nil
	}
	r, err := s.run(t, preloading)
	require.NoError(t, err)
	assert.Equal(t, batch.OK, r.Status)
	assert.Equal(t, before, s.requests[2].Messages)
	assert.Equal(t, batch.ToolCounts{Asked: 2, Executed: 2}, r.Tools, "each call counts once")
	assert.Equal(t, 2, s.toolRuns)
}

func TestOnlyTheFirstTurnKeepsPreloadedResults(t *testing.T) {
	t.Parallel()
	s := &stage{script: []reply{asks(`{}`), asks(`{}`), says(`{"a":1}`)}}
	r, err := s.run(t, preloading)
	require.NoError(t, err)
	assert.Equal(t, batch.OK, r.Status)
	require.Len(t, s.journal, 2)
	assert.Contains(t, string(s.journal[0]), `"preloaded"`)
	assert.NotContains(t, string(s.journal[1]), `"preloaded"`)
}

func TestFailedPreloadFailsTheJob(t *testing.T) {
	t.Parallel()
	s := &stage{tool: func(context.Context, toolpool.Call) (toolpool.Result, error) {
		return toolpool.Result{Content: "Error: there is no file it.md", Failed: true}, nil
	}}
	r, err := s.run(t, preloading)
	require.NoError(t, err)
	require.NotNil(t, r.Error)
	assert.Equal(t, batch.PreloadFailed, r.Error.Type)
	assert.Equal(t, `preload open {"path":"it.md"}: Error: there is no file it.md`, r.Error.Message)
	assert.NotEmpty(t, r.Question)
	assert.Empty(t, s.requests, "no model call without the text")
}

func TestStopEndsPreload(t *testing.T) {
	t.Parallel()
	s := &stage{stop: make(chan struct{})}
	s.tool = func(ctx context.Context, _ toolpool.Call) (toolpool.Result, error) {
		close(s.stop)
		<-ctx.Done()
		return toolpool.Result{}, context.Cause(ctx)
	}
	_, err := s.run(t, preloading)
	require.ErrorIs(t, err, ErrStopped)
}

func TestPreloadsRunAtTheSameTime(t *testing.T) {
	t.Parallel()
	var started atomic.Int32
	both := make(chan struct{})
	s := &stage{script: []reply{says(`{"a":1}`)}}
	tools := callsTool(func(_ context.Context, c toolpool.Call) (toolpool.Result, error) {
		if started.Add(1) == 2 {
			close(both)
		}
		<-both
		return toolpool.Result{Content: c.Arguments}, nil
	})
	compiled := &spec.Compiled{Name: "t", Task: "{x}", MaxTurns: 2, Preload: []spec.Preload{
		{Tool: "open", Args: json.RawMessage(`{"n":1}`)}, {Tool: "open", Args: json.RawMessage(`{"n":2}`)},
	}}
	d, err := Compile(compiled, []toolpool.Tool{{Name: "open", Parameters: json.RawMessage(`{"type":"object"}`), Share: toolpool.Pure}}, backend.Model{ID: "m"})
	require.NoError(t, err)
	r, err := NewRunner(Config{}).Run(t.Context(), d, Job{Payload: []byte(`{"in":{"x":"it"}}`)}, Session{Model: s, Slots: s, Tools: tools})
	require.NoError(t, err)
	require.Equal(t, batch.OK, r.Status)
	assert.Equal(t, "<open {\"n\":1}>\n{\"n\":1}\n</open>\n\n<open {\"n\":2}>\n{\"n\":2}\n</open>\n\nit", s.requests[0].Messages[0].Content)
}

// callsTool is the tools of a session.
type callsTool func(ctx context.Context, c toolpool.Call) (toolpool.Result, error)

func (f callsTool) Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
	return f(ctx, c)
}

func TestCompileRefusesToPreloadEffects(t *testing.T) {
	t.Parallel()
	compiled := &spec.Compiled{Name: "t", Task: "x", MaxTurns: 1, Preload: []spec.Preload{{Tool: "send", Args: json.RawMessage(`{}`)}}}
	tool := toolpool.Tool{Name: "send", Parameters: json.RawMessage(`{"type":"object"}`), Share: toolpool.Effect}
	_, err := Compile(compiled, []toolpool.Tool{tool}, backend.Model{ID: "m"})
	require.ErrorContains(t, err, "the tool send has side effects")
	_, err = Compile(compiled, nil, backend.Model{ID: "m"})
	require.ErrorContains(t, err, "this worker has no tool send")
}

// The effects of a first turn belong to the conversation that the model saw.
func TestTakeoverInAFirstTurnWithEffectsKeepsThePreloadedResult(t *testing.T) {
	t.Parallel()
	s := newEffectStage(t, toolpool.Repeat)
	content := "before"
	require.NoError(t, s.pool.Register(toolpool.Tool{
		Name: "open", Description: "open", Parameters: json.RawMessage(`{"type":"object"}`),
		Run: func(context.Context, json.RawMessage) (string, error) { return content, nil },
	}))
	s.preload = []spec.Preload{{Tool: "open", Args: json.RawMessage(`{}`)}}
	s.script = []reply{sends(`{"to":"Ada"}`)}
	s.die = true
	_, err := s.run(t)
	require.ErrorIs(t, err, errDied)

	s.die, content = false, "after"
	s.script = []reply{says("done")}
	r, err := s.run(t)
	require.NoError(t, err)
	require.Equal(t, batch.OK, r.Status)
	assert.Contains(t, s.requests[1].Messages[0].Content, "before")
}

func TestQuestionIncludesPreloadedCalls(t *testing.T) {
	t.Parallel()
	questions := map[string]bool{}
	for _, preload := range [][]spec.Preload{
		nil,
		{{Tool: "look", Args: json.RawMessage(`{"at":"{x}"}`)}},
		{{Tool: "look", Args: json.RawMessage(`{"at":"{y}"}`)}},
		{{Tool: "open", Args: json.RawMessage(`{"at":"{x}"}`)}},
	} {
		compiled := &spec.Compiled{Name: "t", Task: "{x}", Tools: []string{"look"}, MaxTurns: 2, Preload: preload}
		tools := []toolpool.Tool{{Name: "look", Share: toolpool.Pure}, {Name: "open", Share: toolpool.Pure}}
		d, err := Compile(compiled, tools, backend.Model{ID: "m"})
		require.NoError(t, err)
		questions[d.Question([]byte(`{"in":{"x":"1","y":"2"}}`))] = true
	}
	assert.Len(t, questions, 4)
	assert.NotContains(t, questions, "")
}
