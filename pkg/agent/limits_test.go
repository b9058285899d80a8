package agent

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

func hangs(ctx context.Context, _ backend.Observer) (*backend.Response, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestJobTimeoutFailsTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &stage{generate: hangs}
		r, err := s.run(t, func(c *spec.Compiled) { c.Timeouts.Job = 10 * time.Second })
		require.NoError(t, err)
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.Timeout, r.Error.Type)
		assert.True(t, r.Error.Retryable)
		assert.Equal(t, 10*time.Second, time.Since(began))
		assert.Zero(t, s.held.Load())
	})
}

func TestTurnTimeoutIsRetriedThenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{generate: hangs}
		r, err := s.run(t, nil)
		require.NoError(t, err)
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.BackendUnavailable, r.Error.Type)
		assert.Len(t, s.requests, 3, "one call and max_retries = 2")
		assert.Zero(t, s.held.Load())
	})
}

func TestStopKeepsTheTurnUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{script: []reply{asks(`{}`), says(`{"a":1}`)}, stop: make(chan struct{})}
		s.tool = func(context.Context, toolpool.Call) (toolpool.Result, error) {
			close(s.stop) // while the tool runs
			return toolpool.Result{Content: "seen", Executed: true}, nil
		}
		_, err := s.run(t, nil)
		require.ErrorIs(t, err, ErrStopped)
		assert.Len(t, s.journal, 1, "the paid turn is kept")
		assert.Len(t, s.requests, 1)

		later := &stage{script: s.script, journal: s.journal}
		r, err := later.run(t, nil)
		require.NoError(t, err)
		assert.Equal(t, batch.OK, r.Status)
		assert.Equal(t, 2, r.Turns)
	})
}

func TestStopEndsRetryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{stop: make(chan struct{})}
		s.generate = func(context.Context, backend.Observer) (*backend.Response, error) {
			time.AfterFunc(time.Second, func() { close(s.stop) })
			return nil, &backend.Error{Class: backend.Overloaded, Message: "full", RetryAfter: time.Hour}
		}
		began := time.Now()
		_, err := s.run(t, nil)
		require.ErrorIs(t, err, ErrStopped)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestRetryWaitIsAtLeastRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{script: []reply{
			{err: &backend.Error{Class: backend.RateLimited, Message: "slow down", RetryAfter: time.Minute}}, says(`{"a":1}`)}}
		began := time.Now()
		r, err := s.run(t, nil)
		require.NoError(t, err)
		assert.Equal(t, batch.OK, r.Status)
		assert.Greater(t, time.Since(began), time.Minute)
		assert.Equal(t, 1, r.Turns)
	})
}

func TestRunawayIsRetriedOnceWithoutGrammar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{script: []reply{fails(backend.Degenerate), says(`{"a":1}`)}}
		r, err := s.run(t, func(c *spec.Compiled) { c.Tools = nil })
		require.NoError(t, err)
		require.Equal(t, batch.OK, r.Status)
		assert.Nil(t, s.requests[1].Schema)

		s = &stage{script: []reply{fails(backend.Degenerate), fails(backend.Degenerate)}}
		r, err = s.run(t, nil)
		require.NoError(t, err)
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.OutputInvalid, r.Error.Type)
	})
}

func TestRefusedAnswerIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := says("no")
		refused.resp.Finish = backend.FinishRefused
		s := &stage{script: []reply{refused}}
		r, err := s.run(t, nil)
		require.NoError(t, err)
		require.NotNil(t, r.Error)
		assert.Equal(t, batch.BackendRejected, r.Error.Type)
	})
}

// TestToolCallStartsBeforeTheStreamEnds: the model's stream continues only once the tool has started.
func TestToolCallStartsBeforeTheStreamEnds(t *testing.T) {
	for name, finish := range map[string]backend.FinishReason{"kept": backend.FinishToolCalls, "thrown away": backend.FinishLength} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started, thrownAway, calls := make(chan struct{}), false, 0
				s := &stage{}
				s.tool = func(ctx context.Context, _ toolpool.Call) (toolpool.Result, error) {
					close(started)
					if finish == backend.FinishLength {
						<-ctx.Done()
						thrownAway = true
						return toolpool.Result{}, ctx.Err()
					}
					return toolpool.Result{Content: "early", Executed: true}, nil
				}
				s.generate = func(ctx context.Context, o backend.Observer) (*backend.Response, error) {
					if calls++; calls > 1 {
						return says(`{"a":1}`).resp, nil
					}
					asked := asks(`{"k":1}`).resp
					asked.Finish = finish
					o.ToolCall(0, asked.Message.ToolCalls[0])
					select {
					case <-started:
						return asked, nil
					case <-ctx.Done():
						return nil, errors.New("the tool waits for the end of the stream")
					}
				}
				r, err := s.run(t, nil)
				require.NoError(t, err)
				assert.Equal(t, 1, s.toolRuns, "an early call is not made twice")
				if finish == backend.FinishLength {
					assert.True(t, thrownAway)
					assert.Equal(t, batch.OutputTruncated, r.Error.Type)
					return
				}
				require.Equal(t, batch.OK, r.Status)
				assert.Contains(t, s.requests[1].Messages[3].Content, "early")
			})
		})
	}
}

// TestCompactedConversationIsByteIdenticalForAnyCut: a worker dies after any turn, with a small context and tool results
// of any bytes. The next worker sends the same requests as the first would have, and every call has its result.
func TestCompactedConversationIsByteIdenticalForAnyCut(t *testing.T) {
	shortened := 0
	rapid.Check(t, func(rt *rapid.T) {
		turns := rapid.IntRange(1, 5).Draw(rt, "turns")
		contents := make([]string, turns)
		for i := range contents {
			contents[i] = strings.Repeat(string(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "bytes")), rapid.IntRange(1, 400).Draw(rt, "times"))
		}
		script := func() (replies []reply) {
			tokens := int64(10)
			for i := range turns {
				a := asks(`{"k":1}`)
				a.resp.Usage.PromptTokens = tokens
				tokens += int64(len(contents[i]) / 4)
				replies = append(replies, a)
			}
			return append(replies, says(`{"a":1}`))
		}
		act := func(journal [][]byte) *stage {
			s := &stage{script: script()[len(journal):], journal: append([][]byte(nil), journal...), window: 1000}
			n := len(journal)
			s.tool = func(context.Context, toolpool.Call) (toolpool.Result, error) {
				n++
				return toolpool.Result{Content: contents[n-1], Executed: true}, nil
			}
			r, err := s.run(rt, func(c *spec.Compiled) { c.MaxTurns = 10 })
			require.NoError(rt, err)
			require.Equal(rt, batch.OK, r.Status)
			return s
		}
		whole := act(nil)
		for _, r := range whole.requests {
			for i, m := range r.Messages {
				if m.Role == backend.RoleAssistant && len(m.ToolCalls) > 0 {
					require.Equal(rt, backend.RoleTool, r.Messages[i+1].Role)
					require.Equal(rt, m.ToolCalls[0].ID, r.Messages[i+1].ToolCallID)
				}
				if strings.Contains(m.Content, "left out to fit the context") {
					shortened++
				}
			}
		}
		cut := rapid.IntRange(0, turns).Draw(rt, "cut")
		require.Equal(rt, whole.requests[cut:], act(whole.journal[:cut]).requests)
	})
	require.Positive(t, shortened, "nothing was ever shortened")
}

func TestShortenKeepsWholeRunesWithinTheLimit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringN(0, 2000, -1).Draw(rt, "text")
		limit := rapid.IntRange(shortResult, 1500).Draw(rt, "limit")
		got := shorten(text, limit)
		require.LessOrEqual(rt, len(got), limit)
		require.True(rt, utf8.ValidString(got))
		require.Equal(rt, got, shorten(got, limit), "shortening twice has no further effect")
	})
}

// A server that counts more tokens than estimated refuses the turn. Tool results are shortened until they fit. An agent
// fails if its prompt alone is too long.
func TestRefusedToolResultsAreShortened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fits   int // bytes of messages
		status batch.Status
	}{
		"fits in the end": {fits: 9_000, status: batch.OK},
		"never fits":      {fits: 100, status: batch.StatusFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stage{window: 32_768}
			s.tool = func(context.Context, toolpool.Call) (toolpool.Result, error) {
				return toolpool.Result{Content: "begin" + strings.Repeat("\x01", 60_000) + "end", Executed: true}, nil
			}
			s.generate = func(context.Context, backend.Observer) (*backend.Response, error) {
				messages, size := s.requests[len(s.requests)-1].Messages, 0
				for _, m := range messages {
					size += len(m.Content)
				}
				switch {
				case len(messages) == 2:
					return asks(`{}`).resp, nil
				case size > c.fits:
					return nil, &backend.Error{Class: backend.ContextTooLong, Message: "too long"}
				}
				return says(`{"a":1}`).resp, nil
			}
			r, err := s.run(t, nil)
			require.NoError(t, err)
			require.Equal(t, c.status, r.Status, "%v", r.Error)
			assert.LessOrEqual(t, len(s.requests), 12)
			assert.Equal(t, 1, s.toolRuns)
			if c.status != batch.OK {
				assert.Equal(t, batch.Oversized, r.Error.Type)
				return
			}
			got := s.requests[len(s.requests)-1].Messages[3].Content
			assert.True(t, strings.HasPrefix(got, "begin") && strings.HasSuffix(got, "end"))
			assert.Greater(t, len(got), c.fits/3, "no more is cut than needed")
			left := regexp.MustCompile(`… (\d+) bytes left out`).FindAllStringSubmatch(got, -1)
			require.Len(t, left, 1)
			n, err := strconv.Atoi(left[0][1])
			require.NoError(t, err)
			assert.InDelta(t, 60_008-len(got), n, 100, "the note includes the bytes that were cut before")
		})
	}
}
