package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/scheduler"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/vllmsim/batching"
)

const (
	bytesPerToken = 4
	blockTokens   = 16
	toolTurns     = 7
	resultBytes   = 4_000
)

// engine is a backend with a KV cache in virtual time: it offers package batching through the worker's interface. Each
// agent calls a tool in seven turns and then answers.
type engine struct {
	driver   *batching.Driver
	capacity int
}

func newEngine(t *testing.T, blocks int) *engine {
	p, err := batching.LookupProfile("a10g-7b")
	require.NoError(t, err)
	p.Blocks = blocks
	d, err := batching.NewDriver(batching.DriverConfig{Profile: p})
	require.NoError(t, err)
	return &engine{driver: d, capacity: p.Capacity()}
}

func (e *engine) Generate(ctx context.Context, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
	prompt, turns := textOf(r.Messages), 0
	for _, m := range r.Messages {
		if m.Role == backend.RoleTool {
			turns++
		}
	}
	out := backend.Message{Role: backend.RoleAssistant, Content: `{"saw":"it"}`}
	finish := backend.FinishStop
	if turns < toolTurns {
		out = backend.Message{Role: backend.RoleAssistant, ToolCalls: []backend.ToolCall{{ID: fmt.Sprint("c", turns), Name: "look",
			Arguments: fmt.Sprintf(`{"at":"%s, turn %d"}`, r.Hints.Session, turns)}}}
		finish = backend.FinishToolCalls
	}
	whole := prompt + textOf([]backend.Message{out})
	req := batching.Request{
		PromptTokens: len(prompt) / bytesPerToken, OutputTokens: max(1, len(whole)/bytesPerToken-len(prompt)/bytesPerToken), Blocks: chain(whole),
	}
	run, err := e.driver.Admit(req)
	if err != nil {
		return nil, err
	}
	cached := 0
	err = run.Wait(ctx, 0, func(p batching.Progress) error {
		cached = p.Cached
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &backend.Response{Message: out, Finish: finish, Model: "m", Usage: backend.Usage{
		PromptTokens: int64(req.PromptTokens), CachedTokens: int64(cached), CompletionTokens: int64(req.OutputTokens)}}, nil
}

func textOf(messages []backend.Message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(m.Content)
		for _, c := range m.ToolCalls {
			b.WriteString(c.Name + c.Arguments)
		}
	}
	return b.String()
}

// chain hashes each full block of text together with everything before it.
func chain(text string) (blocks []uint64) {
	h := fnv.New64a()
	for ; len(text) >= blockTokens*bytesPerToken; text = text[blockTokens*bytesPerToken:] {
		_, _ = h.Write([]byte(text[:blockTokens*bytesPerToken]))
		blocks = append(blocks, h.Sum64())
	}
	return blocks
}

func (*engine) Models(context.Context) ([]backend.Model, error) {
	return []backend.Model{{ID: "m"}}, nil
}
func (*engine) Ready(context.Context) error        { return nil }
func (*engine) Capabilities() backend.Capabilities { return backend.Capabilities{Name: "test"} }
func (*engine) Endpoint() string                   { return "test://engine" }
func (*engine) Close() error                       { return nil }

// reporting is an engine that reports the size of its cache.
type reporting struct{ *engine }

func (r reporting) Load(context.Context) (backend.Load, error) {
	return backend.Load{KVCapacityTokens: r.capacity}, nil
}

// agentic runs 24 agents that grow to 8,000 tokens each, with a cache of 32,000 tokens.
func agentic(t *testing.T, reports bool) (info batch.Info, took time.Duration, worker *running, w *world) {
	w = newWorld(t, 0)
	id := w.submit(24, func(c *spec.Compiled) {
		c.System = strings.Repeat("All agents share this. ", 80)
		c.Tools, c.MaxTurns = []string{"look"}, toolTurns+1
	})
	e := newEngine(t, 2_000)
	worker = w.start("node-1", func(c *Config) {
		c.Slots, c.MaxAgents = 64, 256
		if c.Backend = e; reports {
			c.Backend = reporting{e}
		}
		pool, err := toolpool.New(toolpool.Config{})
		require.NoError(t, err)
		require.NoError(t, pool.Register(toolpool.Tool{
			Name: "look", Description: "looks", Parameters: []byte(`{"type":"object"}`),
			Run: func(ctx context.Context, args json.RawMessage) (string, error) {
				_ = sleep.For(ctx, 800*time.Millisecond)
				return string(args) + strings.Repeat("what was seen ", resultBytes/14), nil
			},
		}))
		c.Tools = pool
	})
	began := time.Now()
	info = w.await(id, time.Hour)
	return info, time.Since(began), worker, w
}

// Without admission, 24 agents evict each other between their turns. With admission, the live agents find their cached
// prefix. The test checks the cause of the gain in time: the share of each prompt that was still cached.
func TestAdmissionKeepsAgentsWithinTheCache(t *testing.T) {
	hit := map[bool]float64{}
	took := map[bool]time.Duration{}
	for _, reports := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			info, wall, worker, _ := agentic(t, reports)
			defer worker.end()
			require.EqualValues(t, 24, info.Counts.OK)
			assert.EqualValues(t, 24*(toolTurns+1), info.Counts.Turns, "no agent restarts")
			hit[reports] = float64(info.Counts.Usage.CachedTokens) / float64(info.Counts.Usage.PromptTokens)
			took[reports] = wall
			if reports {
				s := worker.shared.server.kv.ledger.Load().State()
				assert.Zero(t, s.Live)
				assert.Equal(t, 32_000, s.Capacity)
			} else {
				assert.Nil(t, worker.shared.server.kv.ledger.Load(), "a server that does not report its cache has no ledger")
			}
		})
	}
	t.Logf("cached share %.2f without admission, %.2f with it; wall %s and %s", hit[false], hit[true], took[false], took[true])
	assert.Less(t, hit[false], 0.5)
	assert.Greater(t, hit[true], 0.6)
	assert.Less(t, took[true], took[false])
}

// Usage may be missing or implausible. The ledger then keeps its estimate.
// Workers of one process at one server have one KV cache together.
func TestPeersDivideTheCache(t *testing.T) {
	t.Parallel()
	d := &admission{claim: newSignal(), peers: 4}
	d.learn(t.Context(), reporting{&engine{capacity: 1_000}})
	first := d.ledger.Load()
	assert.Equal(t, 250, first.State().Capacity)
	d.learn(t.Context(), reporting{&engine{capacity: 1_000}})
	assert.Same(t, first, d.ledger.Load(), "an unchanged cache keeps its ledger")
}

func TestCallWithoutUsageIsNotBooked(t *testing.T) {
	d := &admission{claim: newSignal()}
	d.learn(t.Context(), reporting{&engine{capacity: 1_000}})
	l := d.ledger.Load()
	l.Start("b_1/job-0", "b_1", 4_000, 0, nil)
	before := l.State()
	usage := backend.Usage{CachedTokens: -1}
	r := &backend.Request{Hints: backend.Hints{Session: "b_1/job-0"}, Messages: []backend.Message{{Content: "x"}}}
	d.booked(r, &backend.Response{Usage: usage})
	assert.Equal(t, before, l.State())
	usage.PromptTokens = 10
	d.booked(r, &backend.Response{Usage: usage})
	assert.NotEqual(t, before, l.State())
}

// An agent that waits at a turn boundary keeps its lease and its journal. A drain releases its job.
func TestDrainReleasesPausedAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &admission{claim: newSignal()}
		d.learn(t.Context(), reporting{&engine{capacity: 1_000}})
		l := d.ledger.Load()
		require.NotNil(t, l)
		l.Declare("b_1", 0, 8)
		old, young := batch.Job{Batch: "b_1"}, batch.Job{Batch: "b_1", Index: 1}
		for i, job := range []batch.Job{old, young} {
			l.Start(job.String(), "b_1", 1_600, i, nil)
			l.Turn(job.String(), 2_800, 700, 0, 10)
		}
		require.NoError(t, d.await(t.Context(), old.String()), "the oldest agent always continues")
		errLeave := errors.New("drain")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(errLeave) })
		require.ErrorIs(t, d.await(ctx, young.String()), errLeave)

		done := make(chan error)
		go func() { done <- d.await(t.Context(), young.String()) }()
		synctest.Wait()
		l.End(old.String(), true)
		require.NoError(t, <-done, "the younger agent continues when there is room")
	})
}

// A turn frees room for a batch that found too little, even if a later batch of the same round had enough.
func TestBatchWithoutRoomIsWoken(t *testing.T) {
	d := &admission{claim: newSignal()}
	d.ledger.Store(scheduler.NewLedger(scheduler.LedgerConfig{Capacity: 1_000}))
	wakes := func() bool {
		d.booked(&backend.Request{}, &backend.Response{Usage: backend.Usage{PromptTokens: 10}})
		select {
		case <-d.claim:
			return true
		default:
			return false
		}
	}
	large := &openBatch{id: "large", maxTurns: 8, taskBytes: 100_000}
	small := &openBatch{id: "small", maxTurns: 1, taskBytes: 4}

	require.Less(t, d.room(large, 4), 4)
	require.Equal(t, 1, d.room(small, 1))
	d.roundEnded()
	assert.True(t, wakes())

	require.Equal(t, 1, d.room(small, 1))
	d.roundEnded()
	assert.False(t, wakes(), "every batch has room")
}
