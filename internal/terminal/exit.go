package terminal

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/nearest"
)

// Exit statuses. Scripts rely on them.
const (
	ExitOK          = 0
	ExitJobsFailed  = 1 // every job has ended, and at least one failed or was cancelled
	ExitUsage       = 2 // usage, spec or input error; nothing was submitted
	ExitUnreachable = 3 // Redis or a backend cannot be reached
	ExitBrokenOff   = 4 // the command ended early: the budget is used up, the disk is full, or the reader of the output went away
	ExitInterrupted = 130
)

// ExitStatus returns the exit status of a command that ended with err. An interrupt cancels ctx.
func ExitStatus(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, fault.ErrJobsFailed):
		return ExitJobsFailed
	case ctx.Err() != nil:
		return ExitInterrupted
	case fault.IsUnreachable(err): // before isUsage: reading inputs from Redis can fail with both
		return ExitUnreachable
	case fault.IsUsage(err):
		return ExitUsage
	default:
		return ExitBrokenOff
	}
}

// Message returns the text of an error for the user of a program with this name, with the command that helps.
func Message(err error, program string) string {
	if errors.Is(err, nearest.ErrUnlike) {
		return fmt.Sprintf("%v, `%s batches`", err, program)
	}
	if e, ok := errors.AsType[*fault.UnfinishedError](err); ok {
		return fmt.Sprintf("%v: `%s results %s --follow`", err, program, e.Batch)
	}
	return err.Error()
}

// Quiet reports whether err is not worth a message: the reader of the output went away.
func Quiet(err error) bool { return errors.Is(err, syscall.EPIPE) }
