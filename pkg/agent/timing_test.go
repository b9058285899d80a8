package agent

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/sleep"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is an agent with a model and tools that take time and can be observed.
type scene struct {
	model func(ctx context.Context, call int, r *backend.Request, o backend.Observer) (*backend.Response, error)
	tool  func(ctx context.Context, c toolpool.Call) (toolpool.Result, error)
	slots func(ctx context.Context) (release func(), held time.Duration, err error)
	write func(ctx context.Context) error // nil takes no time
	stop  chan struct{}
	share toolpool.Share

	mu      sync.Mutex
	calls   int
	journal [][]byte
}

func (s *scene) Acquire(ctx context.Context, _ Wait) (release func(), held time.Duration, err error) {
	if s.slots != nil {
		return s.slots(ctx)
	}
	return func() {}, 0, nil
}

func (s *scene) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.mu.Unlock()
	return s.model(ctx, n, r, o)
}

func (s *scene) Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
	return s.tool(ctx, c)
}

func (s *scene) run(t *testing.T, change func(*spec.Compiled)) (batch.Result, error) {
	t.Helper()
	compiled := &spec.Compiled{Name: "t", System: "sys", Task: "do {x}", Tools: []string{"look"}, MaxTurns: 4, MaxRetries: 1,
		Timeouts: spec.Timeouts{Turn: time.Minute, Tool: time.Minute}}
	if change != nil {
		change(compiled)
	}
	if s.share == "" {
		s.share = toolpool.Inflight
	}
	p, err := Compile(compiled, []toolpool.Tool{{Name: "look", Parameters: json.RawMessage(`{"type":"object"}`), Share: s.share}}, backend.Model{ID: "m"})
	require.NoError(t, err)
	return NewRunner(Config{Worker: "w"}).Run(t.Context(), p, Job{
		ID: batch.Job{Batch: "b_1", Index: 7}, Attempt: 1, Payload: []byte(`{"in":{"x":"it"}}`), Stop: s.stop,
	}, Session{Model: s, Slots: s, Tools: s, Journal: appends(func(ctx context.Context, _ int, data []byte) error {
		s.journal = append(s.journal, data)
		if s.write != nil {
			return s.write(ctx)
		}
		return nil
	})})
}

func TestSlowTurnIsRetriedThenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{model: func(ctx context.Context, _ int, _ *backend.Request, _ backend.Observer) (*backend.Response, error) {
			return nil, sleep.For(ctx, time.Hour)
		}}
		began := time.Now()
		r, err := s.run(t, func(c *spec.Compiled) { c.Timeouts.Turn = 10 * time.Second })
		require.NoError(t, err)
		assert.Equal(t, batch.BackendUnavailable, r.Error.Type)
		assert.Contains(t, r.Error.Message, "timeouts.turn")
		assert.Equal(t, 2, s.calls, "one retry")
		assert.InDelta(t, 20, time.Since(began).Seconds(), 10)
	})
}

func TestJobTimeoutAppliesInEveryState(t *testing.T) {
	slow := func(ctx context.Context, _ int, _ *backend.Request, _ backend.Observer) (*backend.Response, error) {
		return nil, sleep.For(ctx, time.Hour)
	}
	quick := func(context.Context, int, *backend.Request, backend.Observer) (*backend.Response, error) {
		return asks(`{}`).resp, nil
	}
	broken := func(context.Context, int, *backend.Request, backend.Observer) (*backend.Response, error) {
		return nil, &backend.Error{Class: backend.RateLimited, RetryAfter: time.Hour}
	}
	for name, s := range map[string]*scene{
		"in a model call": {model: slow},
		"in a tool": {model: quick, tool: func(ctx context.Context, _ toolpool.Call) (toolpool.Result, error) {
			return toolpool.Result{}, sleep.For(ctx, time.Hour)
		}},
		"between retries":    {model: broken},
		"waiting for a slot": {model: slow, slots: func(ctx context.Context) (func(), time.Duration, error) { return nil, 0, sleep.For(ctx, time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				r, err := s.run(t, func(c *spec.Compiled) {
					c.Timeouts = spec.Timeouts{Turn: time.Hour * 2, Tool: time.Hour * 2, Job: 30 * time.Second}
				})
				require.NoError(t, err)
				require.NotNil(t, r.Error)
				assert.Equal(t, batch.Timeout, r.Error.Type)
				assert.Contains(t, r.Error.Message, "timeouts.job")
				assert.Equal(t, 30*time.Second, time.Since(began))
			})
		})
	}
}

// A call runs while the model still writes, unless its tool has side effects. The turn then takes the longer of the two
// times.
func TestToolCallsStartBeforeTheStreamEnds(t *testing.T) {
	for share, want := range map[toolpool.Share]time.Duration{
		toolpool.Inflight: 10 * time.Second, toolpool.Pure: 10 * time.Second, toolpool.Effect: 18 * time.Second,
	} {
		t.Run(string(share), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runs := 0
				s := &scene{
					share: share,
					model: func(ctx context.Context, n int, _ *backend.Request, o backend.Observer) (*backend.Response, error) {
						if n == 2 {
							return says("done").resp, nil
						}
						o.ToolCall(0, asks(`{"k":1}`).resp.Message.ToolCalls[0]) // complete at once; the stream continues
						return asks(`{"k":1}`).resp, sleep.For(ctx, 10*time.Second)
					},
					tool: func(ctx context.Context, _ toolpool.Call) (toolpool.Result, error) {
						runs++
						return toolpool.Result{Content: "seen", Executed: true}, sleep.For(ctx, 8*time.Second)
					},
				}
				began := time.Now()
				r, err := s.run(t, nil)
				require.NoError(t, err)
				require.Nil(t, r.Error)
				assert.Equal(t, 1, runs)
				assert.Equal(t, want, time.Since(began))
			})
		})
	}
}

// Calls that were started early are discarded if their turn fails: cut by the token limit, refused, or broken off.
func TestEarlyCallsOfFailedTurnAreDiscarded(t *testing.T) {
	bad := map[string]func() (*backend.Response, error){
		"cut": func() (*backend.Response, error) {
			r := asks(`{}`).resp
			r.Finish = backend.FinishLength
			return r, nil
		},
		"refused": func() (*backend.Response, error) {
			r := asks(`{}`).resp
			r.Finish = backend.FinishRefused
			return r, nil
		},
		"broken": func() (*backend.Response, error) { return nil, &backend.Error{Class: backend.Auth} },
	}
	for name, end := range bad {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cancelled bool
				s := &scene{
					model: func(ctx context.Context, _ int, _ *backend.Request, o backend.Observer) (*backend.Response, error) {
						o.ToolCall(0, asks(`{}`).resp.Message.ToolCalls[0])
						if err := sleep.For(ctx, time.Second); err != nil {
							return nil, err
						}
						return end()
					},
					tool: func(ctx context.Context, _ toolpool.Call) (toolpool.Result, error) {
						err := sleep.For(ctx, time.Hour)
						cancelled = err != nil
						return toolpool.Result{}, err
					},
				}
				r, err := s.run(t, nil)
				require.NoError(t, err)
				require.NotNil(t, r.Error)
				assert.True(t, cancelled)
				assert.Empty(t, s.journal, "nothing of the turn is kept")
			})
		})
	}
}

// Stop ends an agent at its next turn boundary. A turn under way is finished and journalled first.
func TestStopEndsAtTurnBoundary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{stop: make(chan struct{})}
		s.model = func(ctx context.Context, n int, _ *backend.Request, _ backend.Observer) (*backend.Response, error) {
			if n == 2 {
				close(s.stop)
			}
			return asks(`{}`).resp, sleep.For(ctx, time.Second)
		}
		s.tool = func(context.Context, toolpool.Call) (toolpool.Result, error) {
			return toolpool.Result{Content: "seen"}, nil
		}
		_, err := s.run(t, nil)
		require.ErrorIs(t, err, ErrStopped)
		assert.Len(t, s.journal, 2)
		assert.Equal(t, 2, s.calls)
	})
	for name, s := range map[string]*scene{
		"while it waits for a slot": {slots: func(ctx context.Context) (func(), time.Duration, error) { return nil, 0, sleep.For(ctx, time.Hour) }},
		"while it waits to retry": {model: func(context.Context, int, *backend.Request, backend.Observer) (*backend.Response, error) {
			return nil, &backend.Error{Class: backend.RateLimited, RetryAfter: time.Hour}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s.stop = make(chan struct{})
				time.AfterFunc(5*time.Second, func() { close(s.stop) })
				began := time.Now()
				_, err := s.run(t, nil)
				require.ErrorIs(t, err, ErrStopped)
				assert.Equal(t, 5*time.Second, time.Since(began))
			})
		})
	}
}

// A slot may become free at the moment of the stop, because another agent stopped and freed it. Then the stop counts.
func TestStopCountsBeforeASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, held := &scene{stop: make(chan struct{})}, 0
		s.slots = func(context.Context) (func(), time.Duration, error) {
			held++
			close(s.stop)
			return func() { held-- }, 0, nil
		}
		_, err := s.run(t, nil)
		require.ErrorIs(t, err, ErrStopped)
		assert.Zero(t, held)
		assert.Zero(t, s.calls)
	})
}

// A model that runs away gets one more request without the grammar. If it runs away again, the job fails with its text.
func TestRunawayModel(t *testing.T) {
	runaway := &backend.Error{Class: backend.Degenerate, Message: "400 spaces", Partial: "{   "}
	for fails, want := range map[int]batch.ErrorType{1: "", 2: batch.OutputInvalid} {
		synctest.Test(t, func(t *testing.T) {
			var schemas []bool
			s := &scene{model: func(_ context.Context, n int, r *backend.Request, _ backend.Observer) (*backend.Response, error) {
				schemas = append(schemas, r.Schema != nil)
				if n <= fails {
					return nil, runaway
				}
				return says(`{"a":1}`).resp, nil
			}}
			r, err := s.run(t, func(c *spec.Compiled) { c.Tools, c.Schema = nil, json.RawMessage(`{"type":"object"}`) })
			require.NoError(t, err)
			assert.Equal(t, []bool{true, false}, schemas)
			if want == "" {
				assert.Nil(t, r.Error)
			} else {
				assert.Equal(t, want, r.Error.Type)
			}
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{model: func(_ context.Context, n int, _ *backend.Request, _ backend.Observer) (*backend.Response, error) {
			if n == 1 {
				return nil, &backend.Error{Class: backend.RateLimited, RetryAfter: 42 * time.Second}
			}
			return says("done").resp, nil
		}}
		began := time.Now()
		r, err := s.run(t, nil)
		require.NoError(t, err)
		assert.Nil(t, r.Error)
		assert.GreaterOrEqual(t, time.Since(began), 42*time.Second)
		assert.Less(t, time.Since(began), 90*time.Second)
	})
}

func TestLostLeaseEndsAttemptWithItsCause(t *testing.T) {
	errLost := errors.New("the lease was lost")
	synctest.Test(t, func(t *testing.T) {
		s := &scene{model: func(ctx context.Context, _ int, _ *backend.Request, _ backend.Observer) (*backend.Response, error) {
			return nil, sleep.For(ctx, time.Hour)
		}}
		p, err := Compile(&spec.Compiled{Name: "t", Task: "do", MaxTurns: 1}, nil, backend.Model{ID: "m"})
		require.NoError(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errLost) })
		_, err = NewRunner(Config{}).Run(ctx, p, Job{Payload: []byte(`{"in":{}}`)}, Session{Model: s, Slots: s, Tools: s})
		require.ErrorIs(t, err, errLost)
	})
}

// anyTurn is a tool turn of any size.
var anyTurn = rapid.Custom(func(rt *rapid.T) Turn {
	t := Turn{Assistant: backend.Message{Role: backend.RoleAssistant}}
	for range rapid.IntRange(1, 3).Draw(rt, "calls") {
		t.Assistant.ToolCalls = append(t.Assistant.ToolCalls, backend.ToolCall{ID: "c", Name: "look", Arguments: "{}"})
		unit := rapid.SampledFrom([]string{"a", "é", "日本", "👍"}).Draw(rt, "text")
		t.Tools = append(t.Tools, backend.Message{Role: backend.RoleTool, Content: strings.Repeat(unit, rapid.IntRange(1, 4_000).Draw(rt, "length"))})
	}
	t.Usage.PromptTokens = int64(rapid.IntRange(10, 3_000).Draw(rt, "prompt"))
	return t
})

// Compaction depends on the journal alone: a conversation that was rebuilt after any turn is identical byte for byte. No
// message is dropped and no character is cut in two.
func TestCompactionIsTheSameAfterResume(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		window := rapid.SampledFrom([]int{0, 500, 2_000, 10_000}).Draw(rt, "window")
		turns := rapid.SliceOfN(anyTurn, 1, 6).Draw(rt, "turns")
		whole := newConversation("sys", nil, "prompt", window, "")
		for i, turn := range turns {
			data, err := plainjson.Marshal(turn)
			require.NoError(rt, err)
			written, err := decodeTurn(data)
			require.NoError(rt, err)
			whole.add(written)

			again := newConversation("sys", nil, "prompt", window, "")
			for _, earlier := range turns[:i+1] {
				data, err := plainjson.Marshal(earlier)
				require.NoError(rt, err)
				t, err := decodeTurn(data)
				require.NoError(rt, err)
				again.add(t)
			}
			require.Equal(rt, whole.messages, again.messages)
		}
		results := 0
		for _, m := range whole.messages {
			require.NotContains(rt, m.Content, "\uFFFD")
			require.True(rt, len(m.Content) > 0 || m.Role == backend.RoleAssistant)
			if m.Role == backend.RoleTool {
				results++
			}
		}
		want := 0
		for _, turn := range turns {
			want += len(turn.Tools)
		}
		require.Equal(rt, want, results, "a call and its result stay together")
	})
}

func TestShortenKeepsBothEndsAndAddsNote(t *testing.T) {
	t.Parallel()
	text := "begin " + strings.Repeat("middle ", 1_000) + "the end"
	got := shorten(text, 400)
	assert.LessOrEqual(t, len(got), 400)
	assert.True(t, strings.HasPrefix(got, "begin"))
	assert.True(t, strings.HasSuffix(got, "the end"))
	assert.Contains(t, got, "bytes left out")
	assert.Equal(t, "short", shorten("short", 400))
}

func FuzzReadAnswer(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, "```json\n{\"a\":1}\n```", `Sure: {'a': 1,} ok`, `<think>{}</think>{"a":2}`, "{", "", "{}{}", "\xff{\"a\":1}"} {
		f.Add(seed)
	}
	p, err := Compile(&spec.Compiled{Name: "t", Task: "x", MaxTurns: 1,
		Schema: json.RawMessage(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}`)}, nil, backend.Model{ID: "m"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		output, problem := p.readAnswer(t.Context(), text)
		if problem == nil && (!json.Valid(output) || p.output.Check(output) != nil) {
			t.Fatalf("an answer was accepted that does not match the schema: %s", output)
		}
	})
}

// TestTimesAddUpToAttempt: every wait is counted once, and the sum is the duration of the attempt.
func TestTimesAddUpToAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		s := &scene{
			slots: func(ctx context.Context) (func(), time.Duration, error) {
				return func() {}, 10 * ms, sleep.For(ctx, 30*ms)
			},
			write: func(ctx context.Context) error { return sleep.For(ctx, 7*ms) },
			tool: func(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
				executed := strings.Contains(c.Arguments, "slow")
				d := 400 * ms
				if !executed {
					d = 300 * ms
				}
				return toolpool.Result{Content: "seen", Executed: executed}, sleep.For(ctx, d)
			},
		}
		s.model = func(ctx context.Context, call int, _ *backend.Request, o backend.Observer) (*backend.Response, error) {
			if call == 1 {
				_ = sleep.For(ctx, 50*ms)
				return nil, &backend.Error{Class: backend.Overloaded, RetryAfter: time.Second}
			}
			args := map[int]string{2: `{"a":"slow"}`, 3: `{"a":"quick"}`}[call]
			r := says(`done`).resp
			r.Usage = backend.Usage{PromptTokens: 100, CachedTokens: int64(40 * (call - 2)), CompletionTokens: 1}
			r.TTFT = 20 * ms
			if args != "" {
				r = asks(args).resp
				r.TTFT, r.Usage = 20*ms, backend.Usage{PromptTokens: 100, CachedTokens: int64(40 * (call - 2))}
				_ = sleep.For(ctx, 60*ms)
				o.ToolCall(0, r.Message.ToolCalls[0]) // runs while the model still writes
			} else {
				_ = sleep.For(ctx, 60*ms)
			}
			return r, sleep.For(ctx, 40*ms)
		}
		began := time.Now()
		r, err := s.run(t, nil)
		require.NoError(t, err)
		require.Nil(t, r.Error)
		wall := time.Since(began)
		assert.GreaterOrEqual(t, r.Times.Retry, int64(1_050))
		retry := r.Times.Retry
		assert.Equal(t, batch.Times{
			Held: 4 * 10, Slot: 4 * 20, PrefillCold: 2 * 20, PrefillCached: 20, Decode: 3 * 80,
			Tools: 360, ToolsShared: 260, Journal: 2 * 7, Retry: retry,
		}, r.Times)
		assert.InDelta(t, wall.Milliseconds(), r.Times.Sum().Milliseconds(), 9, "each part is rounded down to a millisecond")
	})
}
