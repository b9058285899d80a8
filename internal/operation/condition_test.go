package operation

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

func TestConditionOf(t *testing.T) {
	ready := batch.WorkerRecord{ID: "a", Models: []string{"m"}, Ready: true}
	with := func(change func(*batch.WorkerRecord)) []batch.WorkerRecord {
		w := ready
		change(&w)
		return []batch.WorkerRecord{w}
	}
	paused := []batch.Pause{{Model: "m", Kind: "quota_exhausted", Reason: `server answers 402 "Insufficient credits"`, Since: time.Now()}}
	workers := []batch.WorkerRecord{ready}
	open := batch.Info{Header: batch.Header{Model: "m"}, Phase: batch.Sealed, Counts: batch.Counts{Total: 9, Fed: 9, Waiting: 9}}
	of := func(change func(*batch.Info)) batch.Info {
		i := open
		change(&i)
		return i
	}
	ended := func(ok, failed, cancelled int64) batch.Info {
		return of(func(i *batch.Info) {
			i.Phase, i.Counts = batch.Done, batch.Counts{Total: ok + failed + cancelled, Fed: ok + failed + cancelled, OK: ok, Failed: failed, Cancelled: cancelled}
		})
	}
	for name, test := range map[string]struct {
		info    batch.Info
		stages  []StageUse
		workers []batch.WorkerRecord
		want    batch.BatchState
		reason  string
	}{
		"no job has started":             {info: open, workers: workers, want: batch.BatchQueued},
		"a job runs":                     {info: of(func(i *batch.Info) { i.Counts.Running = 1 }), workers: workers, want: batch.BatchRunning},
		"jobs have ended":                {info: of(func(i *batch.Info) { i.Counts.OK = 1 }), workers: workers, want: batch.BatchRunning},
		"one of two workers can serve":   {info: open, workers: append(with(func(w *batch.WorkerRecord) { w.Lost = true }), ready), want: batch.BatchQueued},
		"the budget is used up":          {info: of(func(i *batch.Info) { i.Paused = true }), workers: workers, want: batch.BatchPaused, reason: "budget"},
		"no worker":                      {info: open, want: batch.BatchWaiting, reason: "no worker is alive"},
		"the only worker is lost":        {info: open, workers: with(func(w *batch.WorkerRecord) { w.Lost = true }), want: batch.BatchWaiting, reason: "no worker is alive"},
		"a lost worker was paused":       {info: open, workers: with(func(w *batch.WorkerRecord) { w.Lost, w.Pauses = true, paused }), want: batch.BatchWaiting},
		"no worker has the model":        {info: of(func(i *batch.Info) { i.Model = "other" }), workers: workers, want: batch.BatchWaiting, reason: "not other"},
		"no worker has the bound model":  {info: of(func(i *batch.Info) { i.Model, i.Bound = "", "other" }), workers: workers, want: batch.BatchWaiting, reason: "not other"},
		"no worker has the tool":         {info: of(func(i *batch.Info) { i.Tools = []string{"t"} }), workers: workers, want: batch.BatchWaiting, reason: "no tool t"},
		"the worker drains":              {info: open, workers: with(func(w *batch.WorkerRecord) { w.Draining = true }), want: batch.BatchWaiting, reason: "shutting down"},
		"the server refuses":             {info: open, workers: with(func(w *batch.WorkerRecord) { w.Pauses = paused }), want: batch.BatchPaused, reason: "402"},
		"being cancelled":                {info: of(func(i *batch.Info) { i.Phase = batch.Cancelling }), workers: workers, want: batch.BatchCancelled, reason: "9 jobs are still ending"},
		"all ok":                         {info: ended(9, 0, 0), want: batch.BatchDone},
		"no job":                         {info: ended(0, 0, 0), want: batch.BatchDone},
		"some failed":                    {info: ended(8, 1, 0), want: batch.BatchDoneWithFailures, reason: "1 of 9 jobs failed"},
		"all failed":                     {info: ended(0, 9, 0), want: batch.BatchFailed},
		"some cancelled":                 {info: ended(6, 1, 2), want: batch.BatchCancelled, reason: "3 of 9 jobs have no output"},
		"the reduction failed":           {info: ended(9, 0, 0), stages: []StageUse{{Stage: batch.StageReduce, Phase: batch.Done, Failed: 1}}, want: batch.BatchDoneWithFailures, reason: "reduction"},
		"the reduction is under way":     {info: ended(9, 0, 0), stages: []StageUse{{Stage: batch.StageReduce, Phase: batch.Sealed}}, want: batch.BatchDone},
		"cancelled while it was planned": {info: func() batch.Info { i := ended(0, 0, 0); i.Plan = true; return i }(), stages: []StageUse{{Stage: batch.StagePlan, Phase: batch.Done, Failed: 1, Cancelled: 1}}, want: batch.BatchCancelled},
		"the plan failed, so no job ran": {info: func() batch.Info { i := ended(0, 0, 0); i.Plan = true; return i }(), stages: []StageUse{{Stage: batch.StagePlan, Phase: batch.Done, Failed: 1}}, want: batch.BatchFailed, reason: "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			c := conditionOf(test.info, test.stages, test.workers)
			assert.Equal(t, test.want, c.State)
			assert.Contains(t, c.Reason, test.reason)
		})
	}
}

// cluster is a list of batches, and stages that are not in it.
type cluster struct{ list, others []batch.Info }

func (c cluster) List(context.Context) ([]batch.Info, error)            { return c.list, nil }
func (c cluster) Newest(context.Context, int) ([]batch.Info, error)     { return c.list, nil }
func (c cluster) Workers(context.Context) ([]batch.WorkerRecord, error) { return nil, nil }

func (c cluster) Info(_ context.Context, id batch.ID) (batch.Info, error) {
	for _, i := range c.others {
		if i.ID == id {
			return i, nil
		}
	}
	return batch.Info{}, statestore.ErrNotFound
}

func TestListCountsStages(t *testing.T) {
	id := batch.ID("b_01jd0000000000000000000000")
	done := batch.Info{Header: batch.Header{ID: id, Reduce: true}, Phase: batch.Done, Counts: batch.Counts{Total: 1, Fed: 1, OK: 1}}
	reducer := batch.Info{Header: batch.Header{ID: id.ForStage(batch.StageReduce)}, Phase: batch.Done, Counts: batch.Counts{Total: 1, Fed: 1, Failed: 1}}
	for name, c := range map[string]struct {
		cluster
		want batch.BatchState
	}{
		"in the list":     {cluster{list: []batch.Info{done, reducer}}, batch.BatchDoneWithFailures},
		"not in the list": {cluster{list: []batch.Info{done}, others: []batch.Info{reducer}}, batch.BatchDoneWithFailures},
		"removed":         {cluster{list: []batch.Info{done}}, batch.BatchDone},
	} {
		list, err := listBatches(t.Context(), c.cluster, 0)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, list[0].State, name)
	}
}

func TestWorkerStates(t *testing.T) {
	for want, w := range map[batch.WorkerState]batch.WorkerRecord{
		batch.ReadyWorker:    {Ready: true},
		batch.DrainingWorker: {Draining: true},
		batch.UnreadyWorker:  {},
		batch.LostWorker:     {Ready: true, Draining: true, Lost: true},
	} {
		state, reason := batch.StateOf(w)
		assert.Equal(t, want, state)
		assert.Equal(t, want == batch.ReadyWorker, reason == "")
	}
}
