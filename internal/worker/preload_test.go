package worker

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// openTool is a tool with the name files.open that counts its runs.
func openTool(t *testing.T, cfg *Config, runs func(args string)) {
	t.Helper()
	require.NoError(t, cfg.Tools.Register(toolpool.Tool{
		Name: "files__open", Description: "opens", Parameters: []byte(`{"type":"object"}`), Share: toolpool.Pure,
		Run: func(_ context.Context, args json.RawMessage) (string, error) {
			runs(string(args))
			return "text", nil
		},
	}))
}

func TestWorkerPreloadsEachCallOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		w.server.looks = 0
		id := w.submit(50, func(c *spec.Compiled) {
			c.Tools = nil
			c.Preload = []spec.Preload{{Tool: "files.open", Args: json.RawMessage(`{"path":"a.md"}`)}}
		})
		var mu sync.Mutex
		var ran []string
		worker := w.start("a", func(cfg *Config) {
			openTool(t, cfg, func(args string) {
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, args)
			})
		})
		info := w.await(id, time.Minute)
		worker.end()
		assert.EqualValues(t, 50, info.Counts.OK)
		assert.Equal(t, []string{`{"path":"a.md"}`}, ran)
		for _, r := range w.results(id, 50) {
			assert.Equal(t, 1, r.Turns)
			assert.EqualValues(t, 1, r.Tools.Asked)
		}
	})
}

// A worker that lacks a preloaded tool leaves the batch to others.
func TestWorkerWithoutThePreloadedToolDoesNotClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		w.server.looks = 0
		id := w.submit(3, func(c *spec.Compiled) {
			c.Tools = nil
			c.Preload = []spec.Preload{{Tool: "files.open", Args: json.RawMessage(`{}`)}}
		})
		worker := w.start("a", nil)
		time.Sleep(time.Minute)
		info, err := w.store.Info(t.Context(), id)
		require.NoError(t, err)
		assert.EqualValues(t, 3, info.Counts.Waiting)
		worker.end()
		worker = w.start("b", func(cfg *Config) { openTool(t, cfg, func(string) {}) })
		assert.Equal(t, batch.Done, w.await(id, time.Minute).Phase)
		worker.end()
	})
}

func TestLeadOfPreloadedResults(t *testing.T) {
	varies := []spec.Preload{{Tool: "t", Args: json.RawMessage(`{"a":"{x}"}`)}, {Tool: "t", Args: json.RawMessage(`{}`)}}
	for name, c := range map[string]struct {
		preload     []spec.Preload
		prefix, own int
	}{
		"none":    {nil, 0, 0},
		"varying": {varies, 0, 2 * spec.AssumedResult},
		"same":    {varies[1:], spec.AssumedResult, 0},
	} {
		l := newLead(&spec.Compiled{Preload: c.preload})
		assert.Equal(t, c.prefix, l.prefix(), name)
		assert.Equal(t, c.own, l.own(), name)
	}
}
