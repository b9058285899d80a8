package server

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// A saved link names only the job, without its cursor.
func TestEndedJobIsShownWithoutCursor(t *testing.T) {
	w := serve(t, nil)
	_, done := w.scene()
	for index := range 3 {
		path := fmt.Sprintf("/batches/%s/jobs/%d", done, index)
		page := w.ask("GET", path, "").body
		wellFormed(t, path, page)
		assert.Contains(t, page, `id="result"`, path)
	}
	var v JobView
	w.ask("GET", "/api/v1/batches/"+string(done)+"/jobs/1", "").json(t, &v)
	assert.Contains(t, string(v.Result), `"index":1,`)
}

func TestMissingJobIsNamed(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("b", 4)
	a := w.ask("GET", "/batches/"+string(id)+"/jobs/99999", "")
	assert.Equal(t, http.StatusNotFound, a.status)
	assert.Contains(t, a.body, "has no job-99999; it has 4 jobs")
}

func TestDoneBatchListsNoWorkers(t *testing.T) {
	w := serve(t, nil)
	w.workers()
	running, done := w.batch("r", 2), w.batch("d", 1)
	w.finish(w.claim(done, 1))
	var r, d operation.StatusReport
	w.ask("GET", "/api/v1/batches/"+string(running), "").json(t, &r)
	w.ask("GET", "/api/v1/batches/"+string(done), "").json(t, &d)
	assert.NotEmpty(t, r.Workers)
	assert.Equal(t, batch.Done, d.Phase)
	assert.Empty(t, d.Workers)
	assert.Contains(t, w.ask("GET", "/batches/"+string(done), "").body, "none needed")
}

func TestPagesShowUsedAndReservedBudget(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("b", 4)
	require.NoError(t, w.store.SetBudget(t.Context(), id, batch.Budget{Tokens: 10_000}))
	job := w.claim(id, 1)[0]
	want := statestore.WantedCall{Call: statestore.Call{Lease: job.Lease, Number: 1}, PromptTokens: 20, MaxCompletion: 100}
	_, _, err := w.store.Spend(t.Context(), id, nil, []statestore.WantedCall{want})
	require.NoError(t, err)
	assert.Contains(t, w.ask("GET", "/batches/"+string(id), "").body, "0 tokens of 10,000 tokens used; 120 tokens reserved by calls in flight")
	var r operation.StatusReport
	w.ask("GET", "/api/v1/batches/"+string(id), "").json(t, &r)
	assert.Equal(t, batch.Budget{Tokens: 120}, r.Reserved)
}
