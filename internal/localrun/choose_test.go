package localrun

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
)

func TestServerThatListsNoModels(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		list   string
		model  string // model in the spec
		want   string
		err    string
	}{
		"no route":          {404, `{"detail":"Not Found"}`, "m", "m", ""},
		"a page":            {200, `<html>hi</html>`, "m", "m", ""},
		"nothing":           {200, `{"data":[]}`, "m", "m", ""},
		"a list":            {200, `[{"id":"m"}]`, "", "m", ""},
		"Ollama's tag":      {200, `{"data":[{"id":"m:latest"}]}`, "m", "m:latest", ""},
		"no name":           {404, ``, "", "", "name one in the spec: model: NAME"},
		"no key":            {401, `{"error":{"message":"No auth"}}`, "m", "", "answers with an error"},
		"a server in error": {503, `busy`, "m", "", "answers with an error"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.list)
			}))
			defer server.Close()
			m, err := openBackend(t.Context(), "http://"+server.Listener.Addr().String()+"/v1", "--backend", dial.Options{Getenv: func(string) string { return "" }})
			var model backend.Model
			if err == nil {
				defer m.stopAll()
				model, err = m.model(c.model)
			}
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.NotContains(t, err.Error(), "does not answer")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, model.ID)
		})
	}
}
