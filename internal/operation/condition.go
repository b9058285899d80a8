package operation

import (
	"context"
	"fmt"
	"slices"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/serving"
	"github.com/batchagent/batchagent/pkg/batch"
)

// conditionOf returns the state of a batch. stages is nil if the batch has no other stages. workers are all registered
// workers.
func conditionOf(info batch.Info, stages []StageUse, workers []batch.WorkerRecord) batch.Condition {
	c := info.Counts
	switch {
	case info.Phase == batch.Cancelling:
		return batch.Condition{State: batch.BatchCancelled, Reason: fmt.Sprintf("%s jobs are still ending", human.Count(c.Running+c.Waiting))}
	case info.Phase == batch.Done:
		return endOf(info, stages)
	case info.Paused:
		return batch.Condition{State: batch.BatchPaused, Reason: "its budget is used up, so no model call starts"}
	}
	served, why, pause := servedBy(info, workers)
	switch {
	case served:
	case pause != nil:
		return batch.Condition{State: batch.BatchPaused, Reason: why}
	default:
		return batch.Condition{State: batch.BatchWaiting, Reason: why}
	}
	if c.Running == 0 && c.Finished() == 0 {
		return batch.Condition{State: batch.BatchQueued}
	}
	return batch.Condition{State: batch.BatchRunning}
}

// endOf returns the state of a batch that has all results.
func endOf(info batch.Info, stages []StageUse) batch.Condition {
	c := info.Counts
	of := func(stage batch.Stage) (s StageUse) {
		if i := slices.IndexFunc(stages, func(s StageUse) bool { return s.Stage == stage }); i >= 0 && stages[i].Phase == batch.Done {
			s = stages[i]
		}
		return s
	}
	switch {
	case c.Cancelled > 0:
		return batch.Condition{State: batch.BatchCancelled, Reason: fmt.Sprintf("%s of %s jobs have no output", human.Count(c.Cancelled+c.Failed), human.Count(c.Finished()))}
	case info.Plan && of(batch.StagePlan).Cancelled > 0:
		return batch.Condition{State: batch.BatchCancelled, Reason: "it was cancelled before the plan ended"}
	case info.Plan && of(batch.StagePlan).Failed > 0:
		return batch.Condition{State: batch.BatchFailed, Reason: "the plan failed"}
	case c.Failed > 0 && c.OK == 0:
		return batch.Condition{State: batch.BatchFailed, Reason: "no job has an output"}
	case c.Failed > 0:
		return batch.Condition{State: batch.BatchDoneWithFailures, Reason: fmt.Sprintf("%s of %s jobs failed", human.Count(c.Failed), human.Count(c.Finished()))}
	case of(batch.StageReduce).Cancelled > 0:
		return batch.Condition{State: batch.BatchCancelled, Reason: "the reduction was cancelled"}
	case of(batch.StageReduce).Failed > 0:
		return batch.Condition{State: batch.BatchDoneWithFailures, Reason: "the reduction failed"}
	}
	return batch.Condition{State: batch.BatchDone}
}

// servedBy reports whether a live worker can serve a batch. If none can, it returns the reason, and the pause if all are paused.
func servedBy(info batch.Info, workers []batch.WorkerRecord) (ok bool, why string, pause *batch.Pause) {
	needs := serving.Needs(info)
	if slices.ContainsFunc(workers, func(w batch.WorkerRecord) bool { return serving.Obstacle(needs, w) == "" }) {
		return true, "", nil
	}
	why, pause = trouble(needs, workers)
	return false, why, pause
}

// Listed is an entry in a list of batches.
type Listed struct {
	batch.Info
	TTL Duration `json:"ttl"` // that of Info
	batch.Condition
}

// infos reads the state of single batches.
type infos interface {
	Info(ctx context.Context, id batch.ID) (batch.Info, error)
}

// lister reads the batches and workers of a cluster. statestore.Store implements it.
type lister interface {
	infos
	List(ctx context.Context) ([]batch.Info, error)
	Newest(ctx context.Context, n int) ([]batch.Info, error)
	Workers(ctx context.Context) ([]batch.WorkerRecord, error)
}

// listBatches returns the n newest batches with their states. If n is 0, it returns all batches.
func listBatches(ctx context.Context, s lister, n int) ([]Listed, error) {
	read := s.List
	if n > 0 {
		read = func(ctx context.Context) ([]batch.Info, error) { return s.Newest(ctx, n) }
	}
	list, err := read(ctx)
	if err != nil {
		return nil, err
	}
	workers, err := s.Workers(ctx)
	if err != nil {
		return nil, err
	}
	known := listed{infos: s, by: make(map[batch.ID]batch.Info, len(list))}
	for _, i := range list {
		known.by[i.ID] = i
	}
	out := make([]Listed, len(list))
	for n, i := range list {
		var stages []StageUse
		if i.Phase == batch.Done { // before that no stage changes the state
			if stages, err = StagesOfInfo(ctx, known, i); err != nil {
				return nil, err
			}
		}
		out[n] = Listed{i, Duration(i.TTL), conditionOf(i, stages, workers)}
	}
	return out, nil
}

// listed finds batches in a list, and reads the ones that are not in it.
type listed struct {
	infos
	by map[batch.ID]batch.Info
}

// Info implements [infos].
func (l listed) Info(ctx context.Context, id batch.ID) (batch.Info, error) {
	if i, ok := l.by[id]; ok {
		return i, nil
	}
	return l.infos.Info(ctx, id)
}
