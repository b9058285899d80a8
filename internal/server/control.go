package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/notice"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	// controlTimeout limits a request that changes something.
	controlTimeout = 20 * time.Second
	// cancelWait is how long a request waits for its cancellation, which continues in the background.
	cancelWait = 2 * time.Second
)

// Change is the part that all answers to a change of a batch have.
type Change struct {
	Batch   batch.ID        `json:"batch"`
	Phase   batch.Phase     `json:"phase" jsonschema:"after the change; empty if the batch was removed"`
	Notices []notice.Notice `json:"notices" jsonschema:"what happened meanwhile, such as an outage of Redis"`
}

// CancelAnswer is the answer to a cancellation.
type CancelAnswer struct {
	Change
	Outcome *operation.Cancelled `json:"outcome" jsonschema:"null while the last jobs are still ending"`
}

// RetryAnswer is the answer to a retry.
type RetryAnswer struct {
	Change
	Outcome operation.Retried `json:"outcome"`
}

// RemoveAnswer is the answer to a removal.
type RemoveAnswer struct {
	Change
	Removed []batch.ID `json:"removed" jsonschema:"the batch and its stages"`
}

// notices collects the notices of an operation. It is safe for concurrent use.
type notices struct {
	mu   sync.Mutex
	list []notice.Notice // guarded by mu
}

func (n *notices) add(one notice.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, one)
}

// all returns the notices up to now. It is never nil.
func (n *notices) all() []notice.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]notice.Notice{}, n.list...)
}

// cluster returns the batches of the server's Redis, and the list of the notices of the operations on them.
func (s *Server) cluster() (*operation.Cluster, *notices) {
	n := &notices{}
	return operation.On(s.store, n.add), n
}

// changed returns the common part of an answer.
func (s *Server) changed(ctx context.Context, id batch.ID, n *notices) Change {
	phase, _ := s.store.Phase(ctx, id) // a removed batch has no phase
	return Change{Batch: id, Phase: phase, Notices: n.all()}
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	return s.control(w, r, func(ctx context.Context, id batch.ID) (int, any, error) {
		a, err := s.cancelBatch(ctx, id)
		if a.Phase == batch.Cancelling {
			return http.StatusAccepted, a, err
		}
		return http.StatusOK, a, err
	})
}

func (s *Server) retry(w http.ResponseWriter, r *http.Request) error {
	return s.control(w, r, func(ctx context.Context, id batch.ID) (int, any, error) {
		c, n := s.cluster()
		out, err := c.Retry(ctx, id)
		return http.StatusOK, RetryAnswer{s.changed(ctx, id, n), out}, err
	})
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) error {
	return s.control(w, r, func(ctx context.Context, id batch.ID) (int, any, error) {
		c, n := s.cluster()
		removed, err := c.Remove(ctx, id)
		return http.StatusOK, RemoveAnswer{s.changed(ctx, id, n), removed}, err
	})
}

// control calls do with the batch in the request's path, and writes its answer.
func (s *Server) control(w http.ResponseWriter, r *http.Request, do func(context.Context, batch.ID) (status int, answer any, err error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), controlTimeout)
	defer cancel()
	id, err := s.batchOf(ctx, r)
	if err != nil {
		return err
	}
	status, answer, err := do(ctx, id)
	if err != nil {
		return err
	}
	return reply(w, status, answer)
}

// cancelBatch cancels a batch. A cancellation that takes longer than cancelWait continues in the background.
func (s *Server) cancelBatch(ctx context.Context, id batch.ID) (CancelAnswer, error) {
	give, ok := take(s.cancels)
	if !ok {
		return CancelAnswer{}, busy("many batches are being cancelled already")
	}
	c, n := s.cluster()
	type outcome struct {
		operation.Cancelled
		err error
	}
	done := make(chan outcome, 1)
	s.background.Go(func() {
		defer give()
		out, err := c.Cancel(s.work, id)
		done <- outcome{out, err}
	})
	t := time.NewTimer(cancelWait)
	defer t.Stop()
	select {
	case out := <-done:
		return CancelAnswer{s.changed(ctx, id, n), &out.Cancelled}, out.err
	case <-t.C:
		return CancelAnswer{Change: s.changed(ctx, id, n)}, nil
	case <-ctx.Done():
		return CancelAnswer{}, context.Cause(ctx)
	}
}
