package hostile

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/toolset"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

// HTTP_PROXY gets no call with a key, from any tool. BATCHAGENT_TOOLS_PROXY gets these calls.
func TestServicesAreReachedWithoutProxiesOfTheEnvironment(t *testing.T) {
	var seen atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		seen.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	brave := builtin.SearchProviders[0].URL
	builtin.SearchProviders[0].URL = "http://search.invalid/"
	defer func() { builtin.SearchProviders[0].URL = brave }()
	dir := t.TempDir()
	file := filepath.Join(dir, "tools.yaml")
	require.NoError(t, os.WriteFile(file, []byte("http:\n  weather: {description: Weather., url: 'http://weather.invalid/', headers: {X-Key: '${WEATHER_KEY}'}}\n"), 0o600))
	for configured, want := range map[string]int64{"": 0, proxy.URL: 2} {
		seen.Store(0)
		env := map[string]string{"WEATHER_KEY": key, "BRAVE_API_KEY": "brave-key-0123456789", "BATCHAGENT_TOOLS_PROXY": configured}
		f, err := toolset.Read(file, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		require.NoError(t, err)
		set, err := toolset.Open(t.Context(), f, toolset.Options{Root: dir, Getenv: func(name string) string { return env[name] }})
		require.NoError(t, err)
		for _, tool := range set.Tools {
			args, ok := map[string]string{"weather": "{}", "web_search": `{"query":"a"}`, "http_get": `{"url":"http://page.invalid/"}`}[tool.Name]
			if !ok {
				continue
			}
			began := time.Now()
			_, err := tool.Run(t.Context(), json.RawMessage(args))
			require.Error(t, err, tool.Name)
			t.Log(tool.Name, time.Since(began), err)
		}
		set.Close()
		assert.Equal(t, want, seen.Load(), "%q", configured)
	}
}
