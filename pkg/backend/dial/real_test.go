//go:build realservers

package dial

import (
	"encoding/json"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// servers are the variables with the URLs of real servers, by adapter.
var servers = map[string]string{"vllm": "BATCHAGENT_REAL_VLLM", "sglang": "BATCHAGENT_REAL_SGLANG", "dynamo": "BATCHAGENT_REAL_DYNAMO"}

// weatherCall is a call of the suite's tool in the form that vLLM's hermes parser and SGLang's qwen parser read.
const weatherCall = `<tool_call>\n\{"name": "get_weather", "arguments": \{"city": "(Rome|Oslo)"\}\}\n</tool_call>`

// calling are the request fields with which a server makes any model write weatherCall. The server itself parses and
// streams the call and handles its result, with tool_choice auto.
var calling = map[string]map[string]json.RawMessage{
	"vllm":   {"structured_outputs": quoted(map[string]string{"regex": weatherCall})},
	"sglang": {"regex": quoted(weatherCall)},
}

func quoted(v any) json.RawMessage {
	b, _ := json.Marshal(v) // strings always encode
	return b
}

// TestRealServers runs the conformance suite on real servers without other clients. BATCHAGENT_REAL_TOOLS declares that
// their models call a tool on request; otherwise vLLM and SGLang are made to write a call. BATCHAGENT_REAL_REASONING
// marks servers with a reasoning parser.
func TestRealServers(t *testing.T) {
	named := false
	for name, variable := range servers {
		url := os.Getenv(variable)
		if url == "" {
			continue
		}
		named = true
		t.Run(name, func(t *testing.T) { testRealServer(t, name, url) })
	}
	require.True(t, named, "name a server: make real-servers SGLANG=sglang://127.0.0.1:30000")
}

func testRealServer(t *testing.T, name, rawURL string) {
	open := func(t *testing.T, url string) backend.Backend {
		b, err := Open(t.Context(), url, Options{})
		require.NoError(t, err)
		return b
	}
	b := open(t, rawURL)
	require.Equal(t, name, b.Capabilities().Name)
	models, err := b.Models(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, models)
	_, counts := b.(backend.TokenCounter)
	_, loads := b.(backend.LoadReporter)
	require.NoError(t, b.Close())

	able := os.Getenv("BATCHAGENT_REAL_TOOLS") != ""
	extra := calling[name]
	if able {
		extra = nil
	}
	f := backendtest.Features{Tools: able || extra != nil, Forced: name != "dynamo", Schema: name != "dynamo", Tokenizer: counts, Load: loads,
		Reasoning: os.Getenv("BATCHAGENT_REAL_REASONING") != ""}
	backendtest.Run(t, f, func(t *testing.T) backendtest.Target {
		return backendtest.Target{Backend: open(t, rawURL), Model: models[0].ID, Calling: extra,
			Dead: func() backend.Backend { return open(t, name+"://"+deadAddress(t)) }}
	})

	t.Run("AnthropicRoute", func(t *testing.T) {
		u, err := url.Parse(rawURL)
		require.NoError(t, err)
		b := open(t, "anthropic+http://"+u.Host)
		defer b.Close()
		resp, err := b.Generate(t.Context(), &backend.Request{Model: models[0].ID, Sampling: backend.Sampling{MaxTokens: 8},
			Messages: []backend.Message{{Role: backend.RoleUser, Content: "What is the capital of France?"}}}, backend.Observer{})
		require.NoError(t, err)
		assert.NotEmpty(t, resp.Message.Content)
		assert.Positive(t, resp.Usage.PromptTokens)
	})
}
