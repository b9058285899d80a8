package toolset_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/toolset"
)

// A tools file of any form is read or refused.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"", "python_eval: true", "commands:\n  a: {description: b, argv: [c, '{d}'], parameters: {type: object, properties: {d: {type: string}}}}",
		"http:\n  a: {description: b, url: 'https://h/{c}', query: {q: '{c}'}, headers: {X: '${KEY}'}}", "mcpServers:\n  a: {command: x, args: [y]}",
		"sql:\n  a: {dsn: 'sqlite:a.db', lookups: {b: {query: 'SELECT {ids}', key: c}}}", "http_get: {allow_hosts: ['*.a'], allow_networks: [10.0.0.0/8]}",
		"tools: {read_file: {rate: 1/s, timeout: 1s}}", "a: &a [*a]", "? [", "web_search: {provider: brave, key: '${KEY}'}",
	} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "tools.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		file, err := toolset.Read(path, func(name string) (string, bool) { return "secret-of-" + name, name == "KEY" })
		require.Equal(t, file == nil, err != nil)
		if err != nil {
			require.NotContains(t, err.Error(), "secret-of-")
		}
	})
}
