package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	// controlTimeout limits a request that changes something.
	controlTimeout = 20 * time.Second
	// cancelWait is how long a request waits for its cancellation, which continues in the background.
	cancelWait = 2 * time.Second
)

// Said is the answer to a command, with its messages and the new phase of the batch.
type Said struct {
	Batch    batch.ID    `json:"batch"`
	Phase    batch.Phase `json:"phase" jsonschema:"after the command; empty if the batch was removed"`
	Messages []string    `json:"messages" jsonschema:"the messages that the command line prints"`
}

// sentences collects the messages of a command. It is safe for concurrent use.
type sentences struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (s *sentences) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sentences) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for line := range strings.Lines(s.text.String()) {
		out = append(out, strings.TrimSuffix(line, "\n"))
	}
	return out
}

// listened returns a console that collects its messages.
func listened() (*coordinator.Console, *sentences) {
	said := &sentences{}
	return coordinator.NewConsole(io.Discard, said), said
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	return s.control(w, r, s.cancelBatch)
}

func (s *Server) retry(w http.ResponseWriter, r *http.Request) error {
	return s.control(w, r, s.retryBatch)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) error {
	return s.control(w, r, func(ctx context.Context, id batch.ID) (*sentences, error) {
		con, said := listened()
		return said, coordinator.Remove(ctx, s.store, id, con)
	})
}

func (s *Server) control(w http.ResponseWriter, r *http.Request, do func(context.Context, batch.ID) (*sentences, error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), controlTimeout)
	defer cancel()
	id, err := s.batchOf(ctx, r)
	if err != nil {
		return err
	}
	said, err := do(ctx, id)
	if err != nil {
		return err
	}
	answer := Said{Batch: id, Messages: said.lines()}
	answer.Phase, _ = s.store.Phase(ctx, id) // a removed batch has no phase
	status := http.StatusOK
	if answer.Phase == batch.Cancelling {
		status = http.StatusAccepted
	}
	return reply(w, status, answer)
}

// cancelBatch cancels a batch. A cancellation that takes longer than cancelWait continues in the background.
func (s *Server) cancelBatch(ctx context.Context, id batch.ID) (*sentences, error) {
	give, ok := take(s.cancels)
	if !ok {
		return nil, busy("many batches are being cancelled already")
	}
	con, said := listened()
	done := make(chan error, 1)
	s.background.Go(func() {
		defer give()
		done <- coordinator.Cancel(s.work, s.store, id, con)
	})
	t := time.NewTimer(cancelWait)
	defer t.Stop()
	select {
	case err := <-done:
		return said, err
	case <-t.C:
		return said, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *Server) retryBatch(ctx context.Context, id batch.ID) (*sentences, error) {
	con, said := listened()
	return said, coordinator.Retry(ctx, s.store, id, con)
}
