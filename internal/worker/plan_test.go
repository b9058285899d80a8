package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// plannerServer is an adder that also plans the given number of items.
type plannerServer struct {
	*adder
	items int
	plans atomic.Int64        // calls of the planner
	told  func(prompt string) // called before a reply is sent; nil is skipped
}

func (p *plannerServer) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	prompt := r.Messages[1].Content
	if p.told != nil {
		p.told(prompt)
	}
	resp, err := p.adder.Generate(ctx, r, o)
	if err == nil && prompt == "plan" {
		p.plans.Add(1)
		items := make([]string, p.items)
		for i := range items {
			items[i] = fmt.Sprintf("q%d", i)
		}
		text, _ := json.Marshal(map[string][]string{"items": items})
		resp.Message.Content = string(text)
	}
	return resp, err
}

// submitPlanned makes a batch with a planner and a reducer.
func (w *world) submitPlanned() batch.ID {
	id := statestore.NewID(time.Now())
	job := spec.Compiled{Name: "t", System: "sys", Task: "{item}", Schema: []byte(`{"type":"object","required":["sum"]}`), MaxTurns: 2, MaxAttempts: 3, TTL: time.Hour}
	reduce, compiled := job, job
	reduce.Task, reduce.Reduces = "add {n}:\n{results}", id
	compiled.Task, compiled.Plans, compiled.MaxItems, compiled.Schema = "plan", id, 100, []byte(`{"type":"object","required":["items"]}`)
	for _, b := range []struct {
		header   batch.Header
		compiled spec.Compiled
	}{{batch.Header{ID: id.ForStage(batch.StageReduce)}, reduce}, {batch.Header{ID: id, Reduce: true, Plan: true}, job}, {batch.Header{ID: id.ForStage(batch.StagePlan)}, compiled}} {
		text, err := json.Marshal(b.compiled)
		require.NoError(w.t, err)
		b.header.MaxAttempts, b.header.TTL = 3, time.Hour
		require.NoError(w.t, w.store.Create(w.t.Context(), b.header, text))
	}
	_, err := w.store.Feed(w.t.Context(), id.ForStage(batch.StagePlan), 0, [][]byte{[]byte("{}")})
	require.NoError(w.t, err)
	_, err = w.store.Seal(w.t.Context(), id.ForStage(batch.StagePlan), 1)
	require.NoError(w.t, err)
	return id
}

// mortal is the network of a worker that dies at a command with a given text: before Redis gets it, or after Redis has
// run it.
type mortal struct {
	dial  testredis.Dialer
	text  string
	after bool
	dead  atomic.Bool
}

var errDead = errors.New("the worker is dead")

func (m *mortal) store(t *testing.T) *statestore.Store {
	s, err := statestore.Open(t.Context(), testredis.PipeURL, statestore.Options{
		Jitter: func() float64 { return 0.5 },
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if m.dead.Load() {
				return nil, errDead
			}
			c, err := m.dial(ctx, network, addr)
			return &mortalConn{Conn: c, m: m}, err
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

type mortalConn struct {
	net.Conn
	m    *mortal
	read []byte // the bytes of the reply that were read ahead
}

func (c *mortalConn) Write(b []byte) (int, error) {
	if c.m.dead.Load() {
		return 0, errDead
	}
	if c.m.text == "" || !bytes.Contains(b, []byte(c.m.text)) {
		return c.Conn.Write(b)
	}
	if c.m.after {
		if _, err := c.Conn.Write(b); err != nil {
			return 0, err
		}
		one := make([]byte, 1)
		if _, err := c.Conn.Read(one); err != nil { // the reply begins: Redis has run the command
			return 0, err
		}
		if one[0] == '-' { // NOSCRIPT: Redis does not have the script and has run nothing
			c.read = one
			return len(b), nil
		}
	}
	c.m.dead.Store(true)
	return 0, errDead
}

func (c *mortalConn) Read(b []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(b, c.read)
		c.read = c.read[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if c.m.dead.Load() {
		return 0, errDead
	}
	return n, err
}

// A worker dies at each command in turn, and another one continues. A stage with a committed result is not run again,
// and every item becomes one job.
func TestPlanSurvivesWorkerDeath(t *testing.T) {
	const items = 30
	for name, c := range map[string]struct {
		text, prompt string // the command, or the model call, at which the worker dies
		after        bool
		plans        int64 // planner's calls that were answered
	}{
		"in the planner":              {prompt: "plan", plans: 1},
		"before the plan's commit":    {text: `{"item":"q0"}`, plans: 2},
		"after the plan's commit":     {text: `{"item":"q0"}`, after: true, plans: 1},
		"in the map":                  {prompt: "q7", plans: 1},
		"before a commit of the map":  {text: `"output":{"sum":1}`, plans: 1},
		"after a commit of the map":   {text: `"output":{"sum":1}`, after: true, plans: 1},
		"in the reducer":              {prompt: "add", plans: 1},
		"before the reducer's commit": {text: fmt.Sprintf(`"output":{"sum":%d}`, items), plans: 1},
		"after the reducer's commit":  {text: fmt.Sprintf(`"output":{"sum":%d}`, items), after: true, plans: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 5*time.Second)
				model := func() *plannerServer {
					return &plannerServer{adder: &adder{server: w.server, reduced: map[string]int{}}, items: items}
				}
				m := &mortal{dial: w.dial, text: c.text, after: c.after}
				dying, living := model(), model()
				dying.told = func(prompt string) {
					if c.prompt != "" && strings.HasPrefix(prompt, c.prompt) {
						m.dead.Store(true)
					}
				}
				id := w.submitPlanned()
				first := w.start("first", func(cfg *Config) { cfg.Backend, cfg.Store = dying, m.store(t) })
				for end := time.Now().Add(10 * time.Minute); !m.dead.Load(); time.Sleep(100 * time.Millisecond) {
					require.True(t, time.Now().Before(end), "the worker did not die")
				}
				plans := dying.plans.Load()
				if c.prompt == "plan" {
					plans = 0 // replies to the dead worker do not count
				}
				second := w.start("second", func(cfg *Config) { cfg.Backend = living })
				info := w.await(id, 10*time.Minute)
				assert.EqualValues(t, items, info.Counts.OK)
				w.await(id.ForStage(batch.StageReduce), 10*time.Minute)
				first.Abort()
				first.end()
				second.end()

				assert.Equal(t, c.plans, plans+living.plans.Load())
				require.Equal(t, batch.OK, w.results(id.ForStage(batch.StagePlan), 1)[0].Status)
				for i, r := range w.results(id, items) {
					assert.Equal(t, fmt.Sprintf(`"q%d"`, i), string(r.Item))
				}
				summary := w.results(id.ForStage(batch.StageReduce), 1)[0]
				assert.JSONEq(t, fmt.Sprintf(`{"sum":%d}`, items), string(summary.Output), "%+v", summary.Error)
			})
		})
	}
}

// A plan that is still too large after its repair ends the batch, and nothing else runs.
func TestOversizedPlanEndsBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Second)
		model := &plannerServer{adder: &adder{server: w.server, reduced: map[string]int{}}, items: 101}
		id := w.submitPlanned()
		worker := w.start("node-1", func(c *Config) { c.Backend = model })
		info := w.await(id, 10*time.Minute)
		w.await(id.ForStage(batch.StageReduce), time.Minute)
		time.Sleep(2 * idlePoll) // the claimer finds the end of the batch in its next round
		worker.end()
		assert.Zero(t, info.Counts.Total)
		r := w.results(id.ForStage(batch.StagePlan), 1)[0]
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.PlanTooLarge, r.Error.Type)
		assert.EqualValues(t, 2, model.plans.Load())
		assert.Empty(t, model.reduced)
		active, err := w.store.Active(t.Context())
		require.NoError(t, err)
		assert.Empty(t, active)
	})
}
