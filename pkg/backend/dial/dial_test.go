package dial

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/batchagent/batchagent/pkg/backend/backendtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noEnv(string) string { return "" }

func TestOpenPicksTheAdapter(t *testing.T) {
	t.Parallel()
	for url, name := range map[string]string{
		"vllm://127.0.0.1:8000":      "vllm",
		"vllm+http://127.0.0.1":      "vllm",
		"vllm+https://host/prefix":   "vllm",
		"sglang://127.0.0.1:30000":   "sglang",
		"sglang+https://host/prefix": "sglang",
		"dynamo://127.0.0.1:8000":    "dynamo",
		"dynamo+https://host/prefix": "dynamo",
		"openai://api.example.com":   "openai",
		"openai+http://127.0.0.1":    "openai",
		"http://127.0.0.1:8000/v1":   "openai-compatible",
		"https://api.example.com/v1": "openai-compatible",
		"anthropic://host/base":      "anthropic",
		"anthropic+http://127.0.0.1": "anthropic",
		"bedrock://eu-west-1/m":      "bedrock",
	} {
		b, err := Open(t.Context(), url, Options{Getenv: noEnv})
		require.NoError(t, err, url)
		assert.Equal(t, name, b.Capabilities().Name, url)
		assert.Equal(t, url, b.Endpoint())
		require.NoError(t, b.Close())
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for url, says := range map[string]string{
		"gopher://host":        "vllm+https://, sglang://",
		"127.0.0.1:8000":       "vllm://127.0.0.1:8000",
		"":                     "vllm://",
		"vllm://":              "names no host",
		"https://k:hunter2@h/": "BATCHAGENT_API_KEY or OPENAI_API_KEY",
		"vllm://h?k=hunter2":   "BATCHAGENT_API_KEY or VLLM_API_KEY",
	} {
		b, err := Open(t.Context(), url, Options{Getenv: noEnv})
		require.ErrorContains(t, err, says, url)
		assert.Nil(t, b)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

func TestEveryAdapterDeclaresItself(t *testing.T) {
	t.Parallel()
	adapters, err := Adapters(t.Context())
	require.NoError(t, err)
	names := map[string]bool{}
	for _, a := range adapters {
		assert.False(t, names[a.Capabilities.Name], a.Capabilities.Name)
		names[a.Capabilities.Name] = true
		assert.Positive(t, a.Capabilities.MaxConcurrent, a.URL)
		assert.LessOrEqual(t, a.Capabilities.StartConcurrent, a.Capabilities.MaxConcurrent, a.URL)
	}
	for _, scheme := range Schemes {
		url := scheme + "://us-east-1/model"
		b, err := Open(t.Context(), url, Options{Getenv: noEnv})
		require.NoError(t, err, url)
		assert.True(t, names[b.Capabilities().Name], "%s is in the table", url)
		require.NoError(t, b.Close())
	}
}

func TestEverySchemeIsListed(t *testing.T) {
	t.Parallel()
	for _, scheme := range Schemes {
		url := scheme + "://127.0.0.1"
		if scheme == "bedrock" {
			url = "bedrock://us-east-1/model"
		}
		b, err := Open(t.Context(), url, Options{Getenv: noEnv})
		require.NoError(t, err, scheme)
		require.NoError(t, b.Close())
	}
}

func TestKeyOfACompatibleServer(t *testing.T) {
	t.Parallel()
	server := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/models")})
	vars := map[string]string{"OPENAI_API_KEY": "paid", "VLLM_API_KEY": "other"}
	b, err := Open(t.Context(), "http://"+server.Addr, Options{Getenv: func(name string) string { return vars[name] }})
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.Ready(t.Context()))
	assert.Equal(t, "Bearer paid", server.Requests()[0].Header.Get("Authorization"))
}

func TestProbe(t *testing.T) {
	t.Parallel()
	real := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32/models")})
	url, err := Probe(t.Context(), real.Addr, Options{Getenv: noEnv})
	require.NoError(t, err)
	assert.Equal(t, "vllm://"+real.Addr, url)

	sglang := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "sglang-0.5.23/base/models")})
	url, err = Probe(t.Context(), sglang.Addr, Options{Getenv: noEnv})
	require.NoError(t, err)
	assert.Equal(t, "sglang://"+sglang.Addr, url)

	dynamo := backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "dynamo-1.6.1/models")})
	url, err = Probe(t.Context(), dynamo.Addr, Options{Getenv: noEnv})
	require.NoError(t, err)
	assert.Equal(t, "dynamo://"+dynamo.Addr, url)

	other := backendtest.Replay(t, reply(`{"data":[{"id":"m","owned_by":"someone"}]}`))
	url, err = Probe(t.Context(), other.Addr, Options{Getenv: noEnv})
	require.NoError(t, err)
	assert.Equal(t, "http://"+other.Addr, url)

	for name, addr := range map[string]string{
		"nobody":         deadAddress(t),
		"no model":       backendtest.Replay(t, reply(`{"data":[]}`)).Addr,
		"another server": backendtest.Replay(t, reply(`<html>hello</html>`)).Addr,
		"wants a key":    backendtest.Replay(t, backendtest.Reply{Bytes: backendtest.Recording(t, "vllm-0.32-guarded/err-no-key")}).Addr,
	} {
		_, err := Probe(t.Context(), addr, Options{Getenv: noEnv})
		assert.Error(t, err, name)
	}
}

func reply(body string) backendtest.Reply {
	return backendtest.Reply{Bytes: []byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)}
}

func deadAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}
