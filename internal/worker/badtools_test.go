package worker

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// clumsy is a model that calls every tool in the worst way, and then answers.
type clumsy struct {
	*server
	calls []backend.ToolCall

	mu      sync.Mutex
	results map[string]string // guarded by mu; texts that the model got, by call
}

func (c *clumsy) Generate(_ context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	out := &backend.Response{Model: "m", Finish: backend.FinishStop, Usage: backend.Usage{PromptTokens: 10, CompletionTokens: 2}}
	if len(r.Messages) == 2 {
		out.Finish = backend.FinishToolCalls
		out.Message.ToolCalls = c.calls
		return out, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range r.Messages[3:] {
		c.results[m.ToolCallID] = m.Content
	}
	out.Message.Content = `{"saw":"all"}`
	return out, nil
}

// Every fault of a tool is reported to the model. Its agent ends well, and the worker takes the next job.
func TestBadToolsFailNoJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		object := []byte(`{"type":"object","properties":{"at":{"type":"string"}}}`)
		tools := map[string]func(context.Context) (string, error){
			"hangs":  func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() },
			"deaf":   func(context.Context) (string, error) { time.Sleep(time.Hour); return "late", nil },
			"prints": func(context.Context) (string, error) { return strings.Repeat("x", 100<<20), nil },
			"panics": func(context.Context) (string, error) { panic("nil map") },
			"srv__x": func(context.Context) (string, error) { return "from a server", nil },
		}
		model := &clumsy{server: w.server, results: map[string]string{}}
		for name, args := range map[string]string{
			"none": `{}`, "look": `{"at":5}`, "hangs": `{}`, "deaf": `{}`, "prints": `{}`, "panics": `{}`, "srv__x": `{}`,
		} {
			model.calls = append(model.calls, backend.ToolCall{ID: name, Name: name, Arguments: args})
		}
		model.calls = append(model.calls, backend.ToolCall{ID: "broken", Name: "look", Arguments: `{"at": nonsense]`})
		names := []string{"look", "srv.x"}
		worker := w.start("w", func(c *Config) {
			c.Backend = model
			for name, run := range tools {
				if name != "srv__x" {
					names = append(names, name)
				}
				require.NoError(t, c.Tools.Register(toolpool.Tool{Name: name, Description: name, Parameters: object,
					Run: func(ctx context.Context, _ json.RawMessage) (string, error) { return run(ctx) }}))
			}
		})
		id := w.submit(2, func(c *spec.Compiled) {
			c.Tools = names
			c.Timeouts.Tool = time.Second
		})
		info := w.await(id, 5*time.Minute)
		assert.EqualValues(t, 2, info.Counts.OK)
		w.results(id, 2)
		for call, want := range map[string]string{
			"none":   `there is no tool "none". Available tools: `,
			"look":   "do not fit its parameters: at at: got number, want string",
			"broken": "the arguments of look are not valid JSON",
			"hangs":  "hangs gave no answer within 1s",
			"deaf":   "deaf gave no answer within 1s",
			"prints": "[cut: the first",
			"panics": "panics broke down on this call",
			"srv__x": "from a server",
		} {
			assert.Contains(t, model.results[call], want, call)
			assert.Less(t, len(model.results[call]), 70<<10, call)
		}
		assert.True(t, worker.Ready())
		worker.end()
		time.Sleep(2 * time.Hour) // the tool that ignores cancellation returns
	})
}
