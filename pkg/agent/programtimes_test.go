package agent

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestTimeOfAProgramIsNotOurs checks that the time between the calls of a program is not counted as the engine's own work, and that
// parallel calls share their time.
func TestTimeOfAProgramIsNotOurs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{program: func(ctx context.Context, _ ProgramTask, calls *ProgramCalls) (ProgramAnswer, error) {
			time.Sleep(3 * time.Second) // it starts
			var both sync.WaitGroup
			for _, text := range []string{"one", "two"} {
				both.Go(func() { _, _ = ask(ctx, calls, text) })
			}
			both.Wait()
			time.Sleep(time.Second) // it computes
			return ProgramAnswer{Text: `{"text":"x"}`}, nil
		}}
		h.model = func(_ int, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
			time.Sleep(2 * time.Second)
			resp := says("x").resp
			resp.TTFT = time.Second
			return resp, nil
		}
		r, err := h.run(t)
		require.NoError(t, err)
		require.Nil(t, r.Error)
		assert.Equal(t, int64(6000), r.WallMS)
		assert.Equal(t, int64(4000), r.Times.Program)
		assert.Equal(t, int64(1000), r.Times.Decode, "the calls took two seconds together")
		assert.Equal(t, 6*time.Second, r.Times.Sum())
	})
}

func TestFit(t *testing.T) {
	t.Parallel()
	m := meter{decode: 6 * time.Second, tools: 2 * time.Second, program: time.Second}
	m.fit(9 * time.Second)
	assert.Equal(t, batch.Times{Decode: 6000, Tools: 2000, Program: 1000}, m.times(0))
	m.fit(5 * time.Second)
	assert.Equal(t, batch.Times{Decode: 3000, Tools: 1000, Program: 1000}, m.times(0))
}
