package openai

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
)

// modelServer refuses chat requests with certain fields, one field at a time, as OpenAI does.
func modelServer(t *testing.T, refuse func(sent map[string]any) string) (string, func() []map[string]any) {
	t.Helper()
	var mu sync.Mutex
	var seen []map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		var sent map[string]any
		_ = json.Unmarshal(raw, &sent)
		mu.Lock()
		seen = append(seen, sent)
		mu.Unlock()
		if refusal := refuse(sent); refusal != "" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, refusal)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: "+says("{}")+"\n\ndata: "+ends+"\n\ndata: "+usage+"\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), func() []map[string]any {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func TestRefusedFieldIsTriedOnceAndThenOmitted(t *testing.T) {
	addr, seen := modelServer(t, func(sent map[string]any) string {
		for _, field := range []string{"temperature", "top_p", "prompt_cache_key"} {
			if sent[field] != nil {
				return `{"error":{"message":"Unsupported value: '` + field + `' does not support this value with this model.","type":"invalid_request_error","param":"` + field + `","code":"unsupported_value"}}`
			}
		}
		if sent["max_completion_tokens"] != nil {
			return `{"error":{"message":"Unrecognized request argument supplied: max_completion_tokens","type":"invalid_request_error","param":null,"code":null}}`
		}
		if f, ok := sent["response_format"].(map[string]any); ok && f["json_schema"].(map[string]any)["strict"] == true {
			return `{"error":{"message":"Invalid schema for response_format 'output': In context=(), 'format' is not permitted.","type":"invalid_request_error","param":"response_format","code":null}}`
		}
		return ""
	})
	var log bytes.Buffer
	b, err := New(Config{URL: "openai+http://" + addr, Getenv: env(nil), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer b.Close()
	zero, one := 0.0, 1.0
	r := ask()
	r.Sampling = backend.Sampling{Temperature: &zero, TopP: &one, MaxTokens: 9}
	r.Schema = &backend.Schema{Name: "output", JSON: []byte(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`)}
	for range 2 {
		_, err = b.Generate(t.Context(), r, backend.Observer{})
		require.NoError(t, err)
	}
	calls := seen()
	require.Len(t, calls, 7, "five refusals, and none of them twice")
	last := calls[6]
	assert.Equal(t, 9.0, last["max_tokens"])
	assert.Contains(t, last, "response_format", "as a hint")
	assert.NotContains(t, last, "temperature")
	assert.Equal(t, 4, strings.Count(log.String(), "left out"), log.String())
	assert.Equal(t, 1, strings.Count(log.String(), "strict form"), log.String())

	r.Model = "another"
	_, err = b.Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	assert.Len(t, seen(), 13, "each model is another")
}

func TestPermanentRefusalsAreReturned(t *testing.T) {
	for name, refusal := range map[string]string{
		"a bad value":               `{"error":{"message":"Invalid 'temperature': must be at most 2.","param":"temperature","code":"decimal_above_max_value"}}`,
		"a field that was not sent": `{"error":{"message":"Unknown parameter: 'top_p'.","param":"top_p","code":"unknown_parameter"}}`,
		"something else":            `{"error":{"message":"Unsupported content.","param":"messages[0]","code":"unsupported_value"}}`,
		"the same field for ever":   `{"error":{"message":"Unsupported parameter: 'temperature'.","param":"temperature","code":"unsupported_parameter"}}`,
		"either token limit":        `{"error":{"message":"Unsupported parameter: 'max_tokens' and 'max_completion_tokens'."}}`,
	} {
		addr, seen := modelServer(t, func(map[string]any) string { return refusal })
		half := 0.5
		r := ask()
		r.Sampling = backend.Sampling{Temperature: &half, MaxTokens: 3}
		_, err := open(t, "openai+http://"+addr).Generate(t.Context(), r, backend.Observer{})
		assert.Equal(t, backend.InvalidRequest, backend.ClassOf(err), name)
		assert.LessOrEqual(t, len(seen()), 2, name)
	}
}

func TestRefusedStrictToolsAreSentUnchanged(t *testing.T) {
	addr, seen := modelServer(t, func(sent map[string]any) string {
		f := sent["tools"].([]any)[0].(map[string]any)["function"].(map[string]any)
		if f["strict"] == true {
			return `{"error":{"message":"Invalid schema for function 'look': In context=('properties', 'x'), 'minimum' is not permitted.","param":"tools[0].function.parameters","code":"invalid_function_parameters"}}`
		}
		return ""
	})
	r := ask()
	r.Tools = []backend.Tool{{Name: "look", Parameters: []byte(`{"type":"object","properties":{"x":{"type":"integer","minimum":1}}}`)}}
	_, err := open(t, "openai+http://"+addr).Generate(t.Context(), r, backend.Observer{})
	require.NoError(t, err)
	calls := seen()
	require.Len(t, calls, 2)
	assert.Equal(t, map[string]any{"type": "object", "properties": map[string]any{"x": map[string]any{"type": "integer", "minimum": 1.0}}},
		calls[1]["tools"].([]any)[0].(map[string]any)["function"].(map[string]any)["parameters"])
}

func TestCallsSideBySideLearnFromOneRefusal(t *testing.T) {
	addr, _ := modelServer(t, func(sent map[string]any) string {
		if sent["temperature"] != nil {
			return `{"error":{"message":"Unsupported value","param":"temperature","code":"unsupported_value"}}`
		}
		return ""
	})
	b := open(t, "openai+http://"+addr)
	var calls sync.WaitGroup
	for range 16 {
		calls.Go(func() {
			zero := 0.0
			r := ask()
			r.Sampling.Temperature = &zero
			_, err := b.Generate(t.Context(), r, backend.Observer{})
			assert.NoError(t, err)
		})
	}
	calls.Wait()
}
