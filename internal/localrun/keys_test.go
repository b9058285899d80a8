package localrun

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestKeysGoToServersOfTheOperator(t *testing.T) {
	t.Parallel()
	type env = map[string]string
	cases := []struct {
		name, url, named, hosts string
		insecure                bool
		sent                    string // keys that the server may get
		says                    string
	}{
		{name: "host of --backend", url: "vllm://gpu:8000", named: "vllm://gpu:8000", sent: "all"},
		{name: "another port of its host", url: "vllm://gpu:8001", named: "vllm://GPU:8000", sent: "all"},
		{name: "encrypted to a plain host of --backend", url: "https://gpu", named: "http://gpu", sent: "all"},
		{name: "plain to an encrypted host of --backend", url: "http://gpu", named: "https://gpu", says: "--backend"},
		{name: "host of the spec", url: "https://elsewhere.example/v1", named: "vllm://gpu:8000", says: "BATCHAGENT_KEY_HOSTS=elsewhere.example"},
		{name: "host of the spec without another", url: "sglang://10.0.0.9:30000", says: "BATCHAGENT_API_KEY, VLLM_API_KEY"},
		{name: "this machine", url: "http://127.0.0.1:9", sent: "all"},
		{name: "this machine by IPv6", url: "http://[::1]:9", sent: "all"},
		{name: "this machine by name", url: "http://localhost:9", sent: "all"},
		{name: "name that begins like this machine", url: "http://127.0.0.1.example", says: "127.0.0.1.example"},
		{name: "name that ends like this machine", url: "http://x.localhost", says: "not sent"},
		{name: "listed host", url: "https://gpu.example:8443", hosts: "a, GPU.example", sent: "all"},
		{name: "listed host and port", url: "https://gpu.example:8443", hosts: "gpu.example:8443", sent: "all"},
		{name: "another port than listed", url: "https://gpu.example:8444", hosts: "gpu.example:8443", says: "not sent"},
		{name: "host below a listed one", url: "https://x.gpu.example", hosts: "gpu.example", says: "not sent"},
		{name: "listed host without encryption", url: "vllm://gpu.example", hosts: "gpu.example", says: "--insecure-keys"},
		{name: "listed host without encryption as allowed", url: "vllm://gpu.example", hosts: "gpu.example", insecure: true, sent: "all"},
		{name: "OpenAI", url: "openai://", sent: "OPENAI_API_KEY"},
		{name: "OpenAI by name", url: "openai://api.openai.com/v1", sent: "OPENAI_API_KEY"},
		{name: "Anthropic", url: "anthropic://", sent: "ANTHROPIC_API_KEY"},
		{name: "another host with OpenAI's scheme", url: "openai://evil.example", says: "OPENAI_API_KEY"},
		{name: "OpenAI over HTTP", url: "openai+http://api.openai.com", says: "OPENAI_API_KEY"},
	}
	for _, c := range cases {
		vars := env{"BATCHAGENT_API_KEY": "k1", "VLLM_API_KEY": "k2", "SGLANG_API_KEY": "k3", "OPENAI_API_KEY": "k4", "ANTHROPIC_API_KEY": "k5",
			"BATCHAGENT_KEY_HOSTS": c.hosts, "HOME": "/root"}
		getenv, withheld := newKeyPolicy(func(n string) string { return vars[n] }, c.insecure, c.named, "").environment(c.url)
		var sent []string
		for _, name := range []string{"BATCHAGENT_API_KEY", "VLLM_API_KEY", "SGLANG_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"} {
			if getenv(name) != "" {
				sent = append(sent, name)
			}
		}
		got := strings.Join(sent, ",")
		if len(sent) == 5 {
			got = "all"
		}
		assert.Equal(t, c.sent, got, c.name)
		assert.Equal(t, "/root", getenv("HOME"), c.name)
		if c.says == "" {
			assert.Empty(t, withheld, c.name)
		} else {
			assert.Contains(t, withheld, c.says, c.name)
		}
	}
}

func TestEnvironmentWithholdsNothingWithoutKeys(t *testing.T) {
	t.Parallel()
	_, withheld := newKeyPolicy(func(string) string { return "" }, false).environment("http://elsewhere.example")
	assert.Empty(t, withheld)
}
