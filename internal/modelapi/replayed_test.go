package modelapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// An answer from the journal arrives without pieces. Its blocks have the order that they had when the program first read them: each
// signature follows its own text.
func TestAnswersWithoutPiecesKeepTheOrderOfTheirBlocks(t *testing.T) {
	t.Parallel()
	for _, a := range answersOfServers {
		if a.name != "signed" {
			continue
		}
		a.events = nil
		text := encoded(t, "messages", &request{shown: "m", choices: 1, stream: true}, a)
		at := -1
		for _, part := range []string{"First.", "sig(First.)", "encrypted==", "Look.", " Then.", "sig( Then.)", "get_weather"} {
			next := strings.Index(text[at+1:], part)
			require.GreaterOrEqual(t, next, 0, "%s comes too early in\n%s", part, text)
			at += 1 + next
		}
		return
	}
	t.Fatal("there is no answer with signed reasoning")
}

// A call that is complete before an earlier one waits for it: an answer from the journal has the same order.
func TestCallsAreStreamedInTheirOrder(t *testing.T) {
	t.Parallel()
	first, second := backend.ToolCall{ID: "a", Name: "first", Arguments: "{}"}, backend.ToolCall{ID: "b", Name: "second", Arguments: "{}"}
	text := encoded(t, "chat", &request{shown: "m", choices: 1, stream: true}, answered{name: "calls", events: func(o backend.Observer) { o.ToolCall(1, second) }, response: backend.Response{
		Message: backend.Message{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{first, second}}, Finish: backend.FinishToolCalls,
	}})
	require.Contains(t, text, `"second"`)
	assert.Less(t, strings.Index(text, `"first"`), strings.Index(text, `"second"`))
}

// With one seed, all choices would be the same answer.
func TestChoicesHaveTheirOwnSeeds(t *testing.T) {
	t.Parallel()
	seed := int64(7)
	var mu sync.Mutex
	seen := map[int64]bool{}
	a := &api{caller: callerFunc(func(r *backend.Request) (*backend.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		seen[*r.Sampling.Seed] = true
		return &backend.Response{Finish: backend.FinishStop}, nil
	})}
	_, err := a.answers(t.Context(), &request{call: &backend.Request{Sampling: backend.Sampling{Seed: &seed}}, choices: 3})
	require.NoError(t, err)
	assert.Equal(t, map[int64]bool{7: true, 8: true, 9: true}, seen)
	assert.Equal(t, int64(7), seed)
}

// callerFunc makes calls with a function.
type callerFunc func(r *backend.Request) (*backend.Response, error)

func (f callerFunc) CountTokens(context.Context, *backend.Request) (int, error) {
	return 0, errors.ErrUnsupported
}

func (f callerFunc) Call(_ context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	return f(r)
}

func (f callerFunc) Models(context.Context) ([]backend.Model, error) { return nil, nil }

// A call that the token limit cut is no complete call, in a stream as little as in a whole answer.
func TestCutCallsAreNotStreamedAsComplete(t *testing.T) {
	t.Parallel()
	cut := answered{name: "cut", response: backend.Response{Finish: backend.FinishLength, Message: backend.Message{
		Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{{ID: "a", Name: "get_weather", Arguments: `{"city":"Ro`}},
	}}}
	q := &request{shown: "m", choices: 1, stream: true, call: &backend.Request{}}
	assert.NotContains(t, encoded(t, "messages", q, cut), "malformed_arguments")
	text := encoded(t, "responses", q, cut)
	_, done, found := strings.Cut(text, "response.output_item.done")
	require.True(t, found)
	done, _, _ = strings.Cut(done, "\n\n")
	assert.Contains(t, done, `"incomplete"`)
}

// A refusal beside a text is in whole answers, too.
func TestRefusalsBesideTextAreWhole(t *testing.T) {
	t.Parallel()
	r := &backend.Response{Finish: backend.FinishRefused, Refusal: "No.", Message: backend.Message{Content: "Part."}}
	for api, blocks := range map[string]any{"messages": messageBlocks(r), "responses": outputItems(r, false)} {
		text := fmt.Sprintf("%s", blocks)
		assert.Contains(t, text, "Part.", api)
		assert.Contains(t, text, "No.", api)
	}
}
