package fault

import (
	"errors"
	"fmt"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// ErrJobsFailed reports that the batch ended with jobs that are not ok. The summary already shows them.
var ErrJobsFailed = errors.New("not every job is ok")

// PausedError reports that a batch waits for a larger budget.
type PausedError struct{ Info batch.Info }

func (e *PausedError) Error() string {
	return fmt.Sprintf("batch %s is paused: it has used %s and may use %s; %s of its %s have no result yet", e.Info.ID, human.Spent(e.Info), human.Budget(e.Info.Budget),
		human.Count(e.Info.Counts.Fed-e.Info.Counts.Finished()), human.Plural(e.Info.Counts.Fed, "job", "jobs"))
}

// UnfinishedError reports that a batch is not done, so that not all of its results can be read.
type UnfinishedError struct {
	Batch      batch.ID
	Done, Jobs int64 // jobs with a result, and all jobs so far
}

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("batch %s is not done: %s of %s so far; wait until it is done", e.Batch, human.Count(e.Done), human.Plural(e.Jobs, "job", "jobs"))
}

// UsageError reports a mistake in the call of a command.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError with a formatted text.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// UnreachableError reports that Redis or a backend does not answer.
type UnreachableError struct{ Err error }

func (e *UnreachableError) Error() string { return e.Err.Error() }
func (e *UnreachableError) Unwrap() error { return e.Err }

// IsUsage reports whether an error is a mistake of the user.
func IsUsage(err error) bool {
	if _, ok := errors.AsType[*UsageError](err); ok {
		return true
	}
	if _, ok := errors.AsType[spec.Errors](err); ok {
		return true
	}
	if _, ok := errors.AsType[*spec.BadInputsError](err); ok {
		return true
	}
	return errors.Is(err, statestore.ErrNotFound) || errors.Is(err, statestore.ErrConflict)
}

// IsUnreachable reports whether an error means that Redis, or a model server, does not answer.
func IsUnreachable(err error) bool {
	_, ok := errors.AsType[*UnreachableError](err)
	return ok || statestore.Unreachable(err)
}
