package statestore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// A lost reply is repeated, and after is called with the outcome of both tries.
func TestPatientRepeatsLostReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dial, _ := testredis.Pipe(t)
		line := testredis.NewLine(dial)
		w := bubbleOver(t, line.Dial)
		id := w.sealed(2)
		jobs := w.claim(id, "a", 2)
		var tries []error
		patient := w.store.Patient(func(err error) { tries = append(tries, err) })

		line.LoseReply("eval")
		require.NoError(t, appendTurn(t, patient, jobs[0].Lease))
		require.Len(t, tries, 2)
		require.ErrorIs(t, tries[0], statestore.ErrUnknownOutcome)
		require.NoError(t, tries[1])

		line.LoseReply("eval")
		outcomes, err := patient.Finish(t.Context(), id, []statestore.Completion{succeeded(jobs[0].Lease), succeeded(jobs[1].Lease)})
		require.NoError(t, err)
		assert.Equal(t, []statestore.FinishOutcome{statestore.Already, statestore.Already}, outcomes)
		assert.Len(t, w.results(id), 2)
	})
}

// A known error ends the wait at once. The end of ctx ends the wait with the cause.
func TestPatientReturnsKnownErrorsAndCauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dial, server := testredis.Pipe(t)
		w := bubbleOver(t, dial)
		id := w.sealed(1)
		lease := w.claim(id, "a", 1)[0].Lease
		stale := lease
		stale.Token--
		patient := w.store.Patient(nil)
		require.ErrorIs(t, appendTurn(t, patient, stale), statestore.ErrFenced)

		errLeave := errors.New("the worker leaves")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errLeave)
		defer cancel()
		server.SetError("LOADING Redis is loading the dataset in memory")
		defer server.SetError("")
		began := time.Now()
		require.ErrorIs(t, patient.Release(ctx, id, []batch.Lease{lease}), errLeave)
		assert.Equal(t, time.Minute, time.Since(began))
	})
}

// appendTurn appends the first turn of a job.
func appendTurn(t *testing.T, p *statestore.Patient, l batch.Lease) error {
	errs, err := p.CheckpointAll(t.Context(), l.Job.Batch, func() []statestore.JournalTurn {
		return []statestore.JournalTurn{{Lease: l, Number: 1, Data: []byte("one")}}
	})
	return errors.Join(append(errs, err)...)
}
