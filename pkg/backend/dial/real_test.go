//go:build realservers

package dial

import (
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

// servers are the variables that name real servers, by the adapter that is meant for each.
var servers = map[string]string{"vllm": "BATCHAGENT_REAL_VLLM", "sglang": "BATCHAGENT_REAL_SGLANG", "dynamo": "BATCHAGENT_REAL_DYNAMO"}

// TestRealServers runs the conformance suite on real servers, which nobody else may use meanwhile. BATCHAGENT_REAL_TOOLS
// says that their models call a tool when they are told to; a very small one does not.
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

	f := backendtest.Features{Tools: os.Getenv("BATCHAGENT_REAL_TOOLS") != "", Forced: name != "dynamo", Schema: name != "dynamo", Tokenizer: counts, Load: loads}
	backendtest.Run(t, f, func(t *testing.T) backendtest.Target {
		return backendtest.Target{Backend: open(t, rawURL), Model: models[0].ID, Dead: func() backend.Backend { return open(t, name+"://"+deadAddress(t)) }}
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
