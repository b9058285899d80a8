package vllmsim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestForwardAndTokenTimes(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", streamed} {
		synctest.Test(t, func(t *testing.T) {
			_, p := newPipe(t, Config{ForwardMS: 60})
			start := time.Now()
			r := p.ask(t.Context(), chatBody(user("hello"), more), nil)
			assert.Equal(t, 200, r.status)
			assert.Equal(t, 60*time.Millisecond, time.Since(start))
			assert.Contains(t, r.content, "simulated")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{ForwardMS: 60, TokenMS: 5})
		start := time.Now()
		resp, err := p.post(t.Context(), chatBody(user("hello"), streamed), nil)
		require.NoError(t, err)
		assert.Zero(t, time.Since(start), "headers do not wait for the first token")
		r := read(t, resp)
		assert.Equal(t, 60*time.Millisecond+time.Duration(r.usage.Completion-1)*5*time.Millisecond, time.Since(start))
		assert.Equal(t, r.usage.Completion+2, r.events, "one event per token; the end token is the finish event; role and usage")
		assert.True(t, r.done)
	})
}

func TestRequestsBeyondMaxRunningWaitInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newPipe(t, Config{ForwardMS: 100, MaxRunning: 2, MaxQueued: 5})
		start := time.Now()
		ended := make([]time.Duration, 5)
		for i := range ended {
			go func() {
				p.ask(t.Context(), chatBody(user(fmt.Sprint("job ", i)), streamed), nil)
				ended[i] = time.Since(start)
			}()
			synctest.Wait()
		}
		assert.Equal(t, load{running: 2, waiting: 3, kvUsage: s.engine.load().kvUsage}, s.engine.load())
		assert.Positive(t, s.engine.load().kvUsage)
		r := p.ask(t.Context(), chatBody(user("one too many"), streamed), nil)
		assert.Equal(t, 503, r.status)
		assert.Contains(t, r.raw, `"type":"Service Unavailable"`)
		time.Sleep(time.Second)
		synctest.Wait()
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{100 * ms, 100 * ms, 200 * ms, 200 * ms, 300 * ms}, ended)
		assert.Equal(t, load{}, s.engine.load())
	})
}

func TestDisconnectFreesTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := newPipe(t, Config{ForwardMS: 60_000, MaxRunning: 1})
		for _, more := range []string{streamed, ""} {
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan struct{})
			for range 2 { // one runs, one waits
				go func() {
					if resp, err := p.post(ctx, chatBody(user("hello"), more), nil); err == nil {
						_ = resp.Body.Close()
					}
					done <- struct{}{}
				}()
				synctest.Wait()
			}
			if more == streamed { // post has returned with headers and closed the stream
				<-done
				<-done
			} else {
				got := s.engine.load()
				assert.Equal(t, 1, got.running)
				assert.Equal(t, 1, got.waiting)
				leave()
				<-done
				<-done
			}
			leave()
			synctest.Wait()
			assert.Equal(t, load{}, s.engine.load())
		}
	})
}

func TestToolTurnThenAnswer(t *testing.T) {
	t.Parallel()
	schema := `{"type":"object","properties":{"file":{"type":"string"},"verdict":{"enum":["good","bad"]},"why":{"type":"string","minLength":5}},"required":["file","verdict","why"],"additionalProperties":false}`
	head := system("You review files. Use the tools.\nAnswer with JSON that matches this schema:\n"+schema+"\nNothing else.") + "," + user("Review the file pkg/batch/state.go for bugs.")
	for name, more := range map[string]string{"streamed": readFile + "," + streamed, "whole": readFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, p := newPipe(t, Config{ForwardMS: 60})
				first := p.ask(t.Context(), chatBody(head, more), nil)
				require.Len(t, first.calls, 1)
				assert.Equal(t, "read_file", first.calls[0].name)
				assert.JSONEq(t, `{"path":"pkg/batch/state.go"}`, first.calls[0].args)
				assert.NotEmpty(t, first.calls[0].id)
				assert.Equal(t, "tool_calls", first.finish)
				assert.Empty(t, first.content)

				second := p.ask(t.Context(), chatBody(head+toolTurn(first.calls[0], "package batch"), more), nil)
				assert.Empty(t, second.calls)
				assert.Equal(t, "stop", second.finish)
				obeys(t, schema, second.content)
				assert.Contains(t, second.content, `"file":"pkg/batch/state.go"`)
				assert.Contains(t, second.content, "simulated: ")
				// The prompt and output of the first turn are cached up to the last full block.
				held := first.usage.Total / blockSize * blockSize
				assert.Equal(t, held, second.usage.Details.Cached)
				assert.Equal(t, second.usage.Prompt/blockSize*blockSize-held, second.usage.Details.Created)

				repair := p.ask(t.Context(), chatBody(head+toolTurn(first.calls[0], "package batch")+","+say("assistant", second.content)+","+user("That is not valid. Answer again."), more), nil)
				assert.Empty(t, repair.calls, "a repair turn does not start a new question")
				obeys(t, schema, repair.content)
			})
		})
	}
}

func TestToolChoiceAndTurns(t *testing.T) {
	t.Parallel()
	ask := user("Compare docs/a.md with docs/b.md.")
	tests := []struct {
		name   string
		cfg    Config
		more   string
		header header
		calls  int
		finish string
	}{
		{"none", Config{}, `"tool_choice":"none"`, nil, 0, "stop"},
		{"required", Config{ToolTurns: -1}, `"tool_choice":"required"`, nil, 1, "tool_calls"},
		{"named", Config{}, `"tool_choice":{"type":"function","function":{"name":"read_file"}}`, nil, 1, "stop"},
		{"no tool turns", Config{ToolTurns: -1}, `"tool_choice":"auto"`, nil, 0, "stop"},
		{"header wins", Config{ToolTurns: 3}, `"tool_choice":"auto"`, header{headerToolTurns: "0"}, 0, "stop"},
		{"an enforced schema drops the call", Config{}, `"response_format":{"type":"json_object"}`, nil, 0, "stop"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, p := newPipe(t, tt.cfg)
				r := p.ask(t.Context(), chatBody(ask, readFile+","+tt.more), tt.header)
				assert.Equal(t, 200, r.status, r.raw)
				assert.Len(t, r.calls, tt.calls)
				assert.Equal(t, tt.finish, r.finish)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{ToolTurns: 3})
		messages, args := ask, []string{}
		for range 3 {
			r := p.ask(t.Context(), chatBody(messages, readFile), nil)
			require.Len(t, r.calls, 1)
			args = append(args, r.calls[0].args)
			messages += toolTurn(r.calls[0], "text")
		}
		assert.Equal(t, []string{`{"path":"docs/a.md"}`, `{"path":"docs/b.md"}`, `{"path":"docs/a.md"}`}, args)
		assert.NotEmpty(t, p.ask(t.Context(), chatBody(messages, readFile), nil).content)
		again := p.ask(t.Context(), chatBody(messages+","+say("assistant", "done")+","+user("And docs/c.md?"), readFile), nil)
		require.Len(t, again.calls, 1, "without a schema each user message is a new question")
		assert.JSONEq(t, `{"path":"docs/c.md"}`, again.calls[0].args)
	})
}

func TestResponseFormatIsObeyed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{})
		schema := `{"type":"array","items":{"type":"integer","minimum":3},"minItems":2}`
		for _, more := range []string{
			`"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":` + schema + `}}`,
			`"structured_outputs":{"json":` + schema + `}`,
		} {
			obeys(t, schema, p.ask(t.Context(), chatBody(user("List."), more), nil).content)
		}
		obeys(t, `{"type":"object"}`, p.ask(t.Context(), chatBody(user("List."), `"response_format":{"type":"json_object"}`), nil).content)
	})
}

func TestAnswersAreDeterministic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, a := newPipe(t, Config{Seed: 7})
		_, b := newPipe(t, Config{Seed: 7})
		_, c := newPipe(t, Config{Seed: 8})
		more := `"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","properties":{"n":{"type":"integer","maximum":1000000,"minimum":0}},"required":["n"]}}}`
		differ := 0
		for i := range 5 {
			body := chatBody(user(fmt.Sprint("job ", i)), more)
			first := a.ask(t.Context(), body, nil).content
			assert.Equal(t, first, b.ask(t.Context(), body, nil).content)
			assert.Equal(t, first, a.ask(t.Context(), body, nil).content)
			if first != c.ask(t.Context(), body, nil).content {
				differ++
			}
		}
		assert.Positive(t, differ)
	})
}

func TestLimitsOfTheAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{})
		for _, more := range []string{`"max_tokens":3`, `"max_completion_tokens":3,"max_tokens":9,` + streamed} {
			r := p.ask(t.Context(), chatBody(user("Tell a story."), more), nil)
			assert.Equal(t, "length", r.finish)
			assert.Equal(t, 3, r.usage.Completion)
			assert.Equal(t, "simulated:", r.content)
		}
		r := p.ask(t.Context(), chatBody(user("Tell a story."), `"stop":["answer","zzz"]`), nil)
		assert.Equal(t, "simulated: an ", r.content)
		assert.Equal(t, "stop", r.finish)
		assert.Contains(t, p.ask(t.Context(), chatBody(user("Two."), `"n":2`), nil).raw, "n must be 1")
	})
}

func TestCacheSaltSeparatesPrefixes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{})
		long := system(strings.Repeat("A fixed preamble. ", 60))
		cached := func(question, more string) int {
			return p.ask(t.Context(), chatBody(long+","+user(question), more), nil).usage.Details.Cached
		}
		assert.Zero(t, cached("a?", `"cache_salt":"one"`))
		assert.Positive(t, cached("b?", `"cache_salt":"one"`))
		assert.Zero(t, cached("b?", `"cache_salt":"two"`))
	})
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, p := newPipe(t, Config{APIKey: "k", ForwardMS: 20})
		get := func(method, path, body string) (int, string) {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(body))
			require.NoError(t, err)
			resp, err := p.client.Do(req)
			require.NoError(t, err)
			r := read(t, &http.Response{Body: resp.Body, Header: http.Header{}, StatusCode: 0})
			return resp.StatusCode, r.raw
		}
		status, _ := get(http.MethodGet, "/v1/models", "")
		assert.Equal(t, 401, status)
		for _, path := range []string{"/health", "/version", "/metrics"} {
			status, _ := get(http.MethodGet, path, "")
			assert.Equal(t, 200, status, path)
		}
		r := p.ask(t.Context(), chatBody(user("How are you?"), ""), header{"Authorization": "Bearer k"})
		status, counted := get(http.MethodPost, "/tokenize", chatBody(user("How are you?"), ""))
		assert.Equal(t, 200, status)
		assert.Contains(t, counted, fmt.Sprintf(`{"count":%d,"max_model_len":32768,`, r.usage.Prompt))
		_, page := get(http.MethodGet, "/metrics", "")
		for _, line := range []string{
			`vllm:num_requests_running{engine="0",model_name="sim"} 0`,
			`vllm:num_requests_waiting{engine="0",model_name="sim"} 0`,
			`vllm:kv_cache_usage_perc{engine="0",model_name="sim"} 0`,
			fmt.Sprintf(`vllm:prefix_cache_queries_total{engine="0",model_name="sim"} %d`, r.usage.Prompt),
			`vllm:prefix_cache_hits_total{engine="0",model_name="sim"} 0`,
			fmt.Sprintf(`vllm:prompt_tokens_total{engine="0",model_name="sim"} %d`, r.usage.Prompt),
			fmt.Sprintf(`vllm:generation_tokens_total{engine="0",model_name="sim"} %d`, r.usage.Completion),
			`vllm:request_success_total{engine="0",finished_reason="stop",model_name="sim"} 1`,
			`vllm:request_success_total{engine="0",finished_reason="abort",model_name="sim"} 0`,
			`vllm:num_preemptions_total{engine="0",model_name="sim"} 0`,
			`vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="0",kv_cache_size_tokens="1048576",num_gpu_blocks="65536"} 1`,
			`vllm:time_to_first_token_seconds_count{engine="0",model_name="sim"} 1`,
			`vllm:time_to_first_token_seconds_bucket{engine="0",model_name="sim",le="0.02"} 1`,
			`vllm:e2e_request_latency_seconds_count{engine="0",model_name="sim"} 1`,
		} {
			assert.Contains(t, page, line+"\n")
		}
	})
}

func obeys(t *testing.T, schema, value string) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("s.json", doc))
	compiled, err := c.Compile("s.json")
	require.NoError(t, err)
	var v any
	require.NoError(t, json.Unmarshal([]byte(value), &v), value)
	require.NoError(t, compiled.Validate(v), value)
}
