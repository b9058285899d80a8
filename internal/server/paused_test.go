package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
)

func TestWorkersPageShowsPauseReason(t *testing.T) {
	w := serve(t, nil)
	record := batch.WorkerRecord{ID: "node-9", Consumer: "node-9.1", SeenAt: time.Now(), Ready: true, Pauses: []batch.Pause{
		{Model: "qwen", Kind: "quota_exhausted", Reason: `server answers 402 "Insufficient credits"`, Since: time.Now()},
	}}
	require.NoError(t, w.store.Register(t.Context(), record, time.Minute))
	page := w.ask("GET", "/workers", "", "Accept", "text/html").body
	assert.Contains(t, page, `qwen paused: server answers 402 &#34;Insufficient credits&#34; since`)
	wellFormed(t, "/workers", page)
}
