package statestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The errors that callers handle.
var (
	// ErrFenced: the caller no longer holds the lease. Stop the job and write nothing more for it.
	ErrFenced = errors.New("the lease was lost to another worker")
	// ErrNotFound: the batch does not exist, or its TTL has passed.
	ErrNotFound = errors.New("no such batch; it was removed, or its ttl has passed")
	// ErrConflict: the batch's phase does not allow the call, or a turn is missing.
	ErrConflict = errors.New("the batch is not in a state for this")
	// ErrNotAsked: the call is not parked.
	ErrNotAsked = errors.New("this call does not wait for an outcome")
	// ErrKeyUsed: the key of a submission was used for another one.
	ErrKeyUsed = errors.New("this key was used to submit something else")
	// ErrUnknownOutcome: Redis did not answer. The write may have happened.
	ErrUnknownOutcome = errors.New("no answer from Redis, so it is not known whether the write happened")
	// ErrFull: Redis refuses writes because its memory limit is reached. Nothing was written.
	ErrFull = errors.New("no memory left in Redis (maxmemory); free some or raise the limit")
)

// classify wraps an error of the client in the error that callers handle, and adds the operation.
func classify(op string, err error) error {
	if err == nil {
		return nil
	}
	var answer redis.Error
	switch {
	case errors.As(err, &answer):
		// The server sent this error, so nothing was written.
		said := withoutScript(answer.Error())
		if strings.HasPrefix(said, "OOM ") {
			return fmt.Errorf("%s: %w", op, ErrFull)
		}
		if notNow(said) {
			return fmt.Errorf("%s: %w: %s", op, ErrUnknownOutcome, said)
		}
		return fmt.Errorf("%s: Redis answered: %w", op, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", op, err)
	default:
		return fmt.Errorf("%s: %w: %w", op, ErrUnknownOutcome, err)
	}
}

// forbidden reports whether the server refused a command because its user has no right to it.
func forbidden(err error) bool { return redis.HasErrorPrefix(err, "NOPERM") }

// withoutScript returns the error of the command inside a script. Redis before 7.0 puts the script's name in front of it:
// "ERR Error running script (call to f_…): @user_script:132: @user_script: 132: -OOM command not allowed …".
func withoutScript(msg string) string {
	if strings.HasPrefix(msg, "ERR Error running script") {
		if _, said, ok := strings.Cut(msg, ": -"); ok {
			return said
		}
	}
	return msg
}

// notNow reports whether the error comes from a server that cannot serve yet, so that a later call may succeed.
func notNow(msg string) bool {
	for _, p := range []string{"LOADING ", "CLUSTERDOWN ", "MASTERDOWN ", "READONLY ", "TRYAGAIN ", "BUSY ", "NOREPLICAS "} {
		if strings.HasPrefix(msg, p) {
			return true
		}
	}
	return false
}

// Unreachable reports whether Redis could not be reached or did not answer.
func Unreachable(err error) bool {
	return errors.Is(err, ErrUnknownOutcome) || errors.Is(err, io.EOF)
}
