package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// Equal calls of a tool have different places in the effect log, and each has the same place in every attempt.
func TestEffectsOfProgramsKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	die := 1
	h := &host{}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		for i, args := range []string{`{"n":1}`, `{"n":2}`, `{"n":1}`} {
			if _, err := calls.CallTool(ctx, "look", json.RawMessage(args)); err != nil {
				return ProgramAnswer{}, err
			}
			if i == die {
				return ProgramAnswer{}, errors.New("dies")
			}
		}
		return ProgramAnswer{Text: "done"}, nil
	}
	_, err := h.run(t)
	require.Error(t, err)
	die = -1
	_, err = h.run(t)
	require.NoError(t, err)
	require.Len(t, h.tools, 3)
	first, second, third := h.tools[0], h.tools[1], h.tools[2]
	assert.Equal(t, first.Turn, third.Turn)
	assert.Equal(t, []int{0, 0, 1}, []int{first.Index, second.Index, third.Index})
	assert.NotEqual(t, first.Turn, second.Turn)
	assert.Positive(t, first.Turn)
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
