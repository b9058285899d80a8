package statestore

import (
	"context"
	"fmt"

	"github.com/batchagent/batchagent/pkg/batch"
)

// MaxCheckpoint is the limit of turns per call of [Store.CheckpointAll].
const MaxCheckpoint = 64

// JournalTurn is a turn of a job, and the lease under which it was made.
type JournalTurn struct {
	Lease  batch.Lease
	Number int // 1-based
	Data   []byte
}

// Checkpoint is CheckpointAll for one turn.
func (s *Store) Checkpoint(ctx context.Context, l batch.Lease, turn int, data []byte) error {
	errs, err := s.CheckpointAll(ctx, l.Job.Batch, []JournalTurn{{l, turn, data}})
	if err != nil {
		return err
	}
	return errs[0]
}

// CheckpointAll appends up to MaxCheckpoint turns of one batch to the journals of their jobs, and returns one outcome per turn. An
// existing turn stays unchanged: only the lease's holder writes it, so it is the same. Outcomes are nil; ErrFenced; ErrConflict: the
// turn before it is missing. Repeatable.
func (s *Store) CheckpointAll(ctx context.Context, id batch.ID, turns []JournalTurn) ([]error, error) {
	args := checkpointArguments{make([]string, len(turns)), make([]string, len(turns)), make([]int, len(turns))}
	data := make([][]byte, len(turns))
	for i, t := range turns {
		args.Index[i], args.Fence[i], args.Turn[i], data[i] = decimal(t.Lease.Job.Index), t.Lease.Fence(), t.Number, t.Data
	}
	v, err := s.call(ctx, fmt.Sprintf("checkpoint %d turns of batch %s", len(turns), id), s.scripts.checkpoint, id, args, data...)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(turns))
	for i, t := range turns {
		switch (reply{v}).at(i).num() {
		case -1:
			errs[i] = fmt.Errorf("checkpoint turn %d of %s: %w", t.Number, t.Lease, ErrFenced)
		case -2:
			errs[i] = fmt.Errorf("checkpoint turn %d of %s: %w: an earlier turn is missing", t.Number, t.Lease, ErrConflict)
		}
	}
	return errs, nil
}

// checkpointArguments are the named arguments of checkpoint.lua: columns with an element for each turn.
type checkpointArguments struct {
	Index []string `json:"index"`
	Fence []string `json:"fence"`
	Turn  []int    `json:"turn"`
}
