package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// lostAfter is how many heartbeats a worker may miss before it is shown as lost.
const lostAfter = 2

// recordWriter writes the worker's record, which shows the worker to others. Safe for concurrent use, except for withRate.
type recordWriter struct {
	store    *statestore.Store
	consumer string
	status   func() batch.WorkerRecord
	pace     func(batch.Job)
	every    time.Duration // between two heartbeats
	log      *slog.Logger

	last   time.Time // of the last record with a rate; belongs to the heartbeat
	tokens int64     // that were generated until then; belongs to the heartbeat
}

// withRate writes the record with the rate of generated tokens since its last call.
func (w *recordWriter) withRate(ctx context.Context) {
	w.pace(batch.Job{Index: -1}) // lets agents that were just cancelled end before they are counted
	record := w.status()
	record.TokensPerSec = float64(record.Usage.CompletionTokens-w.tokens) / max(time.Since(w.last).Seconds(), 0.001)
	w.last, w.tokens = time.Now(), record.Usage.CompletionTokens
	w.write(ctx, record)
}

// now writes the record between two heartbeats.
func (w *recordWriter) now(ctx context.Context) {
	w.pace(batch.Job{Index: -1}) // the record counts agents, which may change at this instant
	w.write(ctx, w.status())
}

func (w *recordWriter) write(ctx context.Context, record batch.WorkerRecord) {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	if err := w.store.Register(ctx, record, lostAfter*w.every); err != nil && !statestore.Unreachable(err) {
		w.log.Warn("could not write the worker's record", "error", err)
	}
}

// remove removes the record, because the worker leaves.
func (w *recordWriter) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	if err := w.store.Unregister(ctx, w.consumer); err != nil {
		w.log.Warn("could not unregister", "error", err)
	}
}
