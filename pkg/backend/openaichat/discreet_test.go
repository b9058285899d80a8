package openaichat

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/endpoint"
)

// A key at the cut of a message is removed completely: in an error's body, in its fields, and in an error within a stream.
func TestKeyIsStruckOutBeforeMessagesAreCut(t *testing.T) {
	t.Parallel()
	const key = "sk-live-4f9a8c21e7b0d63a5"
	var stream bool
	var before int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, _ := json.Marshal(strings.Repeat("x", before) + key + " y") //nolint:errchkjson // a string
		body := fmt.Sprintf(`{"error":{"message":%s,"type":"invalid_request_error","code":%s,"param":%s}}`, text, text, text)
		if stream {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprintf(w, "data: %s\n\n", body)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, body)
	}))
	defer server.Close()
	c := New(Config{URL: endpoint.URL{Shown: server.URL, Root: server.URL}, Key: key})
	defer c.Close()
	for _, stream = range []bool{false, true} {
		for before = endpoint.MaxMessageBytes - len(key) - 30; before < endpoint.MaxMessageBytes+2; before++ {
			_, err := c.Generate(t.Context(), &backend.Request{Model: "m", Messages: []backend.Message{{Role: "user", Content: "hi"}}}, backend.Observer{})
			require.Error(t, err)
			require.NotContains(t, err.Error(), key[:6], "%v %d", stream, before)
		}
	}
}
