package realrun

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/batchagent/batchagent/bench/internal/figures"
	"github.com/batchagent/batchagent/pkg/backend"
)

// script sends each request to the server and replaces the answer: a tool call in all turns except the last.
type script struct {
	backend.Backend
	run Run

	mu           sync.Mutex
	first, later figures.Series // guarded by mu; seconds
}

// Generate implements [backend.Backend].
func (s *script) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	turn := 0
	for _, m := range r.Messages {
		if m.Role == backend.RoleTool {
			turn++
		}
	}
	asked := *r
	asked.Tools, asked.Schema, asked.Sampling.MaxTokens = nil, nil, s.run.Output
	began := time.Now()
	resp, err := s.Backend.Generate(ctx, &asked, backend.Observer{FirstToken: o.FirstToken})
	if err != nil {
		return resp, err
	}
	s.note(turn, min(resp.TTFT, time.Since(began)))
	resp.Finish = backend.FinishStop
	if turn < s.run.Turns-1 {
		args, err := json.Marshal(s.run.Call(r, turn))
		if err != nil {
			return nil, err
		}
		resp.Finish = backend.FinishToolCalls
		resp.Message.ToolCalls = []backend.ToolCall{{ID: fmt.Sprint("c", turn), Name: s.run.Tool.Name, Arguments: string(args)}}
	} else if strings.TrimSpace(resp.Message.Content) == "" {
		resp.Message.Content = "done"
	}
	return resp, nil
}

func (s *script) note(turn int, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if turn == 0 {
		s.first = append(s.first, wait.Seconds())
	} else {
		s.later = append(s.later, wait.Seconds())
	}
}

func (s *script) waits() (first, later figures.Series) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.first), slices.Clone(s.later)
}
