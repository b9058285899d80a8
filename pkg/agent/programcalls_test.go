package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// A server may break off an answer that the program has begun to read. A second answer that begins otherwise must not follow the
// first one: the program starts again.
func TestProgramNeverReadsTwoAnswersInOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		second string
		starts int
	}{"same beginning": {"The cat sleeps.", 1}, "other beginning": {"A dog barks.", 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				starts := 0
				h := &host{model: func(n int, _ *backend.Request, o backend.Observer) (*backend.Response, error) {
					o.FirstToken()
					if n == 1 {
						o.Text("The cat ")
						return nil, &backend.Error{Class: backend.Transient, Message: "cut"}
					}
					o.Text(c.second)
					return says(c.second).resp, nil
				}}
				h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
					starts++
					read := ""
					r, err := calls.Call(ctx, question("q"), backend.Observer{Text: func(piece string) { read += piece }})
					if err != nil {
						<-ctx.Done()
						return ProgramAnswer{}, err
					}
					assert.True(t, len(read) == 0 || read == r.Message.Content[:len(read)])
					return ProgramAnswer{Text: r.Message.Content}, nil
				}
				r, err := h.run(t)
				require.NoError(t, err)
				assert.JSONEq(t, fmt.Sprintf(`{"text":%q}`, c.second), string(r.Output))
				assert.Equal(t, c.starts, starts)
				assert.Equal(t, 2, h.calls)
				assert.Len(t, h.journal, 1)
			})
		})
	}
}

// A program makes calls in parallel. Each is one turn, and none is made again.
func TestProgramCallsInParallel(t *testing.T) {
	t.Parallel()
	die := true
	h := &host{}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				_, err := ask(ctx, calls, fmt.Sprint(i))
				assert.NoError(t, err)
				_, err = calls.CallTool(ctx, "look", json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)))
				assert.NoError(t, err)
			})
		}
		all.Wait()
		if die {
			return ProgramAnswer{}, errors.New("dies")
		}
		return ProgramAnswer{Text: "done"}, nil
	}
	_, err := h.run(t)
	require.Error(t, err)
	die = false
	r, err := h.run(t)
	require.NoError(t, err)
	assert.Equal(t, 16, h.calls)
	assert.Len(t, h.tools, 16)
	assert.Equal(t, 32, r.Replayed)
	assert.Equal(t, 16, r.Turns)
}

// Parallel calls wait for the journal one after the other. After a refused write, the others must not try: the lease is lost.
func TestNothingIsWrittenAfterARefusedWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("the lease is lost")
		h := &host{fail: lost}
		attempts := 0
		h.appended = func() {
			attempts++              // by one caller at a time
			time.Sleep(time.Second) // the other answers arrive meanwhile
		}
		h.program = func(_ context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
			var all sync.WaitGroup
			for i := range 3 {
				all.Go(func() { _, _ = ask(context.Background(), calls, fmt.Sprint(i)) })
			}
			all.Wait()
			return ProgramAnswer{}, nil
		}
		_, err := h.run(t)
		require.ErrorIs(t, err, lost)
		assert.Equal(t, 1, attempts)
	})
}

// A process does not die at once. Calls that it makes after the end of its attempt are refused, even if the journal has their answers.
func TestCallsAfterTheEndOfTheAttemptAreRefused(t *testing.T) {
	t.Parallel()
	h := &host{}
	end := func() {}
	var second error
	h.program = func(_ context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		if _, err := ask(context.Background(), calls, "one"); err != nil {
			return ProgramAnswer{}, err
		}
		end()
		_, second = ask(context.Background(), calls, "two")
		return ProgramAnswer{Text: "done"}, nil
	}
	_, err := h.run(t)
	require.NoError(t, err)
	require.NoError(t, second)

	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the lease is lost")
	h.ctx, end = ctx, func() { cancel(lost) }
	_, err = h.run(t)
	require.ErrorIs(t, err, lost)
	require.ErrorIs(t, second, lost)
}

// A call that the program gave up is no failure of the model server, and no time limit.
func TestCallsThatAProgramGivesUpAreNoReasonOfItsFailure(t *testing.T) {
	t.Parallel()
	h := &host{wait: func(ctx context.Context, _ *backend.Request) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}
	h.program = func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
		one, giveUp := context.WithCancel(ctx)
		h.wait = func(ctx context.Context, _ *backend.Request) error {
			giveUp()
			<-ctx.Done()
			return context.Cause(ctx)
		}
		_, err := ask(one, calls, "q")
		require.ErrorIs(t, err, context.Canceled)
		return ProgramAnswer{}, batch.NewError(batch.ProgramFailed, "it ended with exit status 1")
	}
	r, err := h.run(t)
	require.NoError(t, err)
	assert.Equal(t, batch.ProgramFailed, r.Error.Type)
}
