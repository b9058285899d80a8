package server

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func TestCancelRetryRemove(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("c", 40)
	path := "/api/v1/batches/" + string(id)
	w.finish(w.claim(id, 20))
	assert.Equal(t, http.StatusConflict, w.ask("DELETE", path, "").problem(t).Status, "the batch still runs")
	var retried RetryAnswer
	w.ask("POST", path+"/retry", "").json(t, &retried)
	assert.EqualValues(t, 2, retried.Outcome.Jobs)
	w.ask("POST", path+"/retry", "").json(t, &retried)
	assert.Zero(t, retried.Outcome.Jobs)
	var cancelled CancelAnswer
	w.ask("POST", path+"/cancel", "").json(t, &cancelled)
	assert.Equal(t, batch.Done, cancelled.Phase)
	assert.EqualValues(t, 22, cancelled.Outcome.Jobs)
	assert.EqualValues(t, 18, cancelled.Outcome.Ended)
	w.ask("POST", path+"/cancel", "").json(t, &cancelled)
	assert.True(t, cancelled.Outcome.AlreadyDone)
	var removed RemoveAnswer
	w.ask("DELETE", path, "").json(t, &removed)
	assert.Equal(t, []batch.ID{id}, removed.Removed)
	assert.Empty(t, removed.Phase)
	p := w.ask("GET", path, "").problem(t)
	assert.Equal(t, http.StatusNotFound, p.Status)
	assert.Contains(t, p.Detail, "holds no batches")
}

func TestExplainAndBudget(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("b", 40)
	path := "/api/v1/batches/" + string(id)
	w.finish(w.claim(id, 20))
	var e diagnose.Explanation
	w.ask("GET", path+"/explanation", "").json(t, &e)
	assert.EqualValues(t, 20, e.Jobs)
	assert.NotEmpty(t, e.Bound)

	used := int64(20 * (1812 + 157))
	var set BudgetAnswer
	w.ask("PUT", path+"/budget", fmt.Sprintf(`{"tokens":%d}`, used/2)).json(t, &set)
	assert.True(t, set.Paused)
	assert.Equal(t, used, set.Used.Tokens)
	w.ask("PUT", path+"/budget", fmt.Sprintf(`{"tokens":%d}`, 2*used)).json(t, &set)
	assert.False(t, set.Paused)
	assert.Equal(t, batch.Budget{Tokens: 2 * used}, set.Budget)
	for body, detail := range map[string]string{
		`{}`: "how much", `{"tokens":-1}`: "negative", `{"usd":1}`: "no prices", `{"token":1}`: "token", `[]`: "one JSON object", ``: "one JSON object",
	} {
		p := w.ask("PUT", path+"/budget", body).problem(t)
		assert.Equal(t, http.StatusBadRequest, p.Status, body)
		assert.Contains(t, p.Detail, detail, body)
	}
}

// A parked call is resolved over the API, and its job is queued again.
func TestResolve(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("r", 1)
	path := "/api/v1/batches/" + string(id) + "/jobs/0/resolve"
	l := w.claim(id, 1)[0].Lease
	place := statestore.CallRef{Turn: 2}
	_, _, err := w.store.Intend(t.Context(), l, place, []byte(`{"tool":"send"}`))
	require.NoError(t, err)
	require.NoError(t, w.store.Park(t.Context(), l, place))
	_, _, err = w.store.Finish(t.Context(), id, []statestore.Completion{{Lease: l, Effects: true, Parked: true, Result: batch.Result{
		Batch: id, JobID: batch.JobID(0), Status: batch.StatusFailed, Attempts: 1, Error: batch.NewError(batch.EffectUnknown, "the outcome is unknown"),
	}}})
	require.NoError(t, err)
	for body, says := range map[string]string{`{"outcome":"maybe"}`: "done, failed or again", `{"outcome":"done","call":"7.0"}`: "2.0"} {
		p := w.ask("POST", path, body).problem(t)
		assert.Equal(t, http.StatusBadRequest, p.Status, body)
		assert.Contains(t, p.Detail, says, body)
	}
	var resolved ResolveAnswer
	w.ask("POST", path, `{"outcome":"done","result":"it was sent"}`).json(t, &resolved)
	assert.Equal(t, operation.Resolved{Batch: id, JobID: "job-0", Call: "2.0"}, resolved.Outcome)
	assert.Equal(t, batch.Sealed, resolved.Phase)
	n := w.claim(id, 1)[0].Lease
	_, outcome, err := w.store.Intend(t.Context(), n, place, []byte("i"))
	require.NoError(t, err)
	assert.Contains(t, string(outcome), "it was sent")
	p := w.ask("POST", path, `{"outcome":"done"}`).problem(t)
	assert.Contains(t, p.Detail, "nothing is asked")
}

// A worker ends the jobs that it holds. The request does not wait for them.
func TestCancelContinuesAfterItsRequest(t *testing.T) {
	w := serve(t, nil)
	id := w.batch("c", 3)
	held := w.claim(id, 1)
	a := w.ask("POST", "/api/v1/batches/"+string(id)+"/cancel", "")
	assert.Equal(t, http.StatusAccepted, a.status, a.body)
	w.finish(held)
	w.follow(t.Context(), "/api/v1/batches/"+string(id)+"/events", func(e event) bool { return true })
	info, err := w.store.Info(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, batch.Done, info.Phase)
	assert.EqualValues(t, 2, info.Counts.Cancelled)
}
