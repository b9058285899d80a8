package server

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

// The pages of results contain the lines of `coordinator results`, each once.
func TestResultsByCursor(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("r", 30)
	path := "/api/v1/batches/" + string(id) + "/results"
	a := w.ask("GET", path, "")
	assert.Equal(t, http.StatusOK, a.status)
	assert.Empty(t, a.body)
	assert.Equal(t, "0", a.header.Get("Batchagent-Next-Cursor"))
	w.finish(w.claim(id, 30))
	seen := map[int64]bool{}
	next := "0"
	for {
		a := w.ask("GET", path+"?limit=7&after="+next, "")
		require.Equal(t, http.StatusOK, a.status, a.body)
		assert.Equal(t, ndjson, a.header.Get("Content-Type"))
		if a.body == "" {
			assert.Equal(t, string(batch.Done), a.header.Get("Batchagent-Phase"))
			break
		}
		for line := range strings.Lines(a.body) {
			var r batch.Result
			require.NoError(t, json.Unmarshal([]byte(line), &r))
			assert.False(t, seen[r.Index])
			seen[r.Index] = true
		}
		next = a.header.Get("Batchagent-Next-Cursor")
		assert.Contains(t, a.header.Get("Link"), "after="+next+"&limit=7")
	}
	assert.Len(t, seen, 30)
	stored, err := w.store.Results(t.Context(), id, 0, 1)
	require.NoError(t, err)
	assert.Equal(t, string(stored[0].Line)+"\n", w.ask("GET", path+"?limit=1", "").body, "the same bytes")
	for _, query := range []string{"?limit=0", "?limit=x", "?after=-1", "?wait=99"} {
		assert.Equal(t, http.StatusBadRequest, w.ask("GET", path+query, "").status, query)
	}
}

func TestResultsWait(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("r", 2)
	answer := make(chan answered, 1)
	go func() { answer <- w.ask("GET", "/api/v1/batches/"+string(id)+"/results?wait=30", "") }()
	w.finish(w.claim(id, 1))
	a := <-answer
	assert.Equal(t, 1, strings.Count(a.body, "\n"))
	assert.Equal(t, string(batch.Sealed), a.header.Get("Batchagent-Phase"))
}

// event is one event of a stream.
type event struct{ id, name, data string }

// follow calls each with the events of a batch until the stream ends.
func (w *world) follow(ctx context.Context, path string, each func(event) bool, headers ...string) {
	w.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", w.url+path, nil)
	require.NoError(w, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(w, err)
	defer resp.Body.Close()
	require.Equal(w, http.StatusOK, resp.StatusCode)
	assert.Equal(w, "text/event-stream", resp.Header.Get("Content-Type"))
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	var e event
	for in.Scan() {
		field, value, _ := strings.Cut(in.Text(), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" && !each(e) {
				return
			}
			e = event{}
		}
	}
}

func TestEvents(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("e", 6)
	path := "/api/v1/batches/" + string(id) + "/events"
	w.finish(w.claim(id, 2))
	var last string
	results := 0
	w.follow(t.Context(), path, func(e event) bool {
		switch e.name {
		case "progress":
			var v BatchView
			require.NoError(t, json.Unmarshal([]byte(e.data), &v))
			return false
		case "result":
			results++
			last = e.id
		}
		return true
	})
	assert.Equal(t, 2, results)
	w.finish(w.claim(id, 4))
	var names []string
	w.follow(t.Context(), path, func(e event) bool {
		names = append(names, e.name)
		return true
	}, "Last-Event-ID", last)
	assert.Equal(t, []string{"result", "result", "result", "result", "done"}, names, "the stream continues after the last event and ends by itself")
	names = nil
	w.follow(t.Context(), path+"?results=false", func(e event) bool {
		names = append(names, e.name)
		return true
	})
	assert.Equal(t, []string{"done"}, names)
	assert.Equal(t, http.StatusBadRequest, w.ask("GET", path, "", "Last-Event-ID", "x").status)
}

// A stream ends with the server, and the number of streams is limited.
func TestStreamsAreLimitedAndEnd(t *testing.T) {
	w := serve(t, func(c *Config) { c.Streams = 1 })
	id := w.batch("e", 1)
	path := "/api/v1/batches/" + string(id) + "/events"
	w.follow(t.Context(), path, func(e event) bool {
		p := w.ask("GET", path, "").problem(t)
		assert.Equal(t, http.StatusServiceUnavailable, p.Status)
		assert.Equal(t, "urn:batchagent:problem:busy", p.Type)
		w.srv.Close()
		return true // until it ends
	})
	assert.Equal(t, http.StatusServiceUnavailable, w.ask("GET", "/readyz", "").status)
}
