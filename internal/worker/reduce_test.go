package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// adder is a server that answers 1 for a job, and the sum of the values for a reduction.
type adder struct {
	*server
	mu      sync.Mutex
	reduced map[string]int // calls by the prompt of a reduction
}

func (a *adder) Generate(ctx context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	select {
	case <-time.After(a.think):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	prompt := r.Messages[1].Content
	sum := 1
	if strings.HasPrefix(prompt, "add") {
		a.mu.Lock()
		a.reduced[prompt]++
		a.mu.Unlock()
		sum = 0
		for line := range strings.Lines(prompt) {
			var l struct{ Output struct{ Sum int } }
			if json.Unmarshal([]byte(line), &l) == nil {
				sum += l.Output.Sum
			}
		}
	}
	return &backend.Response{
		Model: "m", Finish: backend.FinishStop, Usage: backend.Usage{PromptTokens: 10, CompletionTokens: 2},
		Message: backend.Message{Content: fmt.Sprintf(`{"sum":%d}`, sum)},
	}, nil
}

// submitReduced makes a batch of n jobs without tools, and the batch that reduces it.
func (w *world) submitReduced(n int) batch.ID {
	id := statestore.NewID(time.Now())
	compiled := spec.Compiled{Name: "t", System: "sys", Task: "{x}", Schema: []byte(`{"type":"object","required":["sum"]}`), MaxTurns: 2, MaxAttempts: 3, TTL: time.Hour}
	reduce := compiled
	reduce.Task, reduce.Reduces = "add {n}:\n{results}", id
	for _, b := range []struct {
		header   batch.Header
		compiled spec.Compiled
	}{{batch.Header{ID: id.ForStage(batch.StageReduce)}, reduce}, {batch.Header{ID: id, Reduce: true}, compiled}} {
		text, err := json.Marshal(b.compiled)
		require.NoError(w.t, err)
		b.header.MaxAttempts, b.header.TTL = 3, time.Hour
		require.NoError(w.t, w.store.Create(w.t.Context(), b.header, text))
	}
	var payloads [][]byte
	for i := range n {
		payloads = append(payloads, fmt.Appendf(nil, `{"in":{"x":"p%d"}}`, i))
	}
	for from := 0; from < n; from += statestore.MaxFeedJobs {
		_, err := w.store.Feed(w.t.Context(), id, int64(from), payloads[from:min(n, from+statestore.MaxFeedJobs)])
		require.NoError(w.t, err)
	}
	_, err := w.store.Seal(w.t.Context(), id, int64(n))
	require.NoError(w.t, err)
	return id
}

// A worker that drains in the middle of a tree hands the reduction over: no part is requested twice, and every result
// counts once.
func TestReductionResumesOnAnotherWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 900
		w := newWorld(t, 10*time.Second)
		a := &adder{server: w.server, reduced: map[string]int{}}
		with := func(c *Config) { c.Backend, c.Slots = a, 100 }
		id := w.submitReduced(n)
		first := w.start("first", with)
		w.await(id, 10*time.Minute)
		time.Sleep(15 * time.Second) // some parts are answered, others are in flight
		first.end()
		info, err := w.store.Info(t.Context(), id.ForStage(batch.StageReduce))
		require.NoError(t, err)
		require.Equal(t, batch.Sealed, info.Phase)
		before := len(a.reduced)
		require.Positive(t, before)

		second := w.start("second", with)
		w.await(id.ForStage(batch.StageReduce), 10*time.Minute)
		second.end()
		r := w.results(id.ForStage(batch.StageReduce), 1)[0]
		require.Equal(t, batch.OK, r.Status, "%+v", r.Error)
		assert.JSONEq(t, fmt.Sprintf(`{"sum":%d}`, n), string(r.Output))
		assert.Equal(t, "second", r.Worker)
		assert.Greater(t, len(a.reduced), before)
		for prompt, calls := range a.reduced {
			assert.Equal(t, 1, calls, "%.80s", prompt)
		}
		assert.Equal(t, len(a.reduced), r.Turns)
	})
}
