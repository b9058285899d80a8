package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Workers is a list of workers, sorted by ID.
type Workers struct {
	Workers []operation.Worker `json:"workers"`
}

// Tool is a tool and the workers that offer it.
type Tool struct {
	Name    string   `json:"name" jsonschema:"in the form that specs use"`
	Workers []string `json:"workers" jsonschema:"IDs of the workers that offer it"`
	// Use is the tool's use on these workers since each of them started.
	Use          batch.ToolUse `json:"use" jsonschema:"on these workers, since each of them started"`
	SavedSeconds float64       `json:"saved_seconds" jsonschema:"estimated time saved by shared and cached calls"`
}

// Tools is a list of tools, sorted by name.
type Tools struct {
	Tools []Tool `json:"tools"`
}

// Backend is a kind of model server.
type Backend struct {
	Name             string `json:"name"`
	URL              string `json:"url" jsonschema:"example"`
	PrefixCache      bool   `json:"prefix_cache"`
	PrefixPinned     bool   `json:"prefix_pinned"`
	CachedTokens     bool   `json:"cached_tokens" jsonschema:"the server reports the number of cached tokens"`
	StructuredOutput bool   `json:"structured_output"`
	Priority         bool   `json:"priority"`
	MaxInFlight      int    `json:"max_in_flight"`
	StartInFlight    int    `json:"start_in_flight" jsonschema:"first value of an adaptive limit; 0 if the limit is fixed"`
}

// Backends is a list of kinds of model servers.
type Backends struct {
	Backends []Backend `json:"backends"`
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte("ok\n"))
	return err
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	if s.ctx.Err() != nil {
		return errStopping
	}
	if err := s.store.Ping(ctx); err != nil {
		return err
	}
	return s.healthz(w, r)
}

func (s *Server) workers(ctx context.Context) ([]batch.WorkerRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	all, err := s.store.Workers(ctx)
	if all == nil {
		all = []batch.WorkerRecord{}
	}
	return all, err
}

func (s *Server) listWorkers(w http.ResponseWriter, r *http.Request) error {
	all, err := s.workers(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, Workers{operation.WorkersOf(all)})
}

func (s *Server) listTools(w http.ResponseWriter, r *http.Request) error {
	all, err := s.workers(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, Tools{toolsOf(batch.Live(all))})
}

// toolsOf collects the tools of workers.
func toolsOf(workers []batch.WorkerRecord) []Tool {
	by, use := map[string][]string{}, map[string]batch.ToolUse{}
	for _, w := range workers {
		for _, t := range w.Tools {
			name := toolpool.SpecName(t)
			by[name] = append(by[name], w.ID)
			total := use[name]
			total.Add(w.ToolUse[t])
			use[name] = total
		}
	}
	out := []Tool{}
	for name, ids := range by {
		out = append(out, Tool{name, ids, use[name], use[name].Saved()})
	}
	slices.SortFunc(out, func(a, b Tool) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (s *Server) listBackends(w http.ResponseWriter, r *http.Request) error {
	adapters, err := dial.Adapters(r.Context())
	if err != nil {
		return err
	}
	out := Backends{Backends: make([]Backend, len(adapters))}
	for i, a := range adapters {
		c := a.Capabilities
		out.Backends[i] = Backend{
			Name: c.Name, URL: a.URL, PrefixCache: c.PrefixCache, PrefixPinned: c.PrefixPinned, CachedTokens: c.CachedUsage,
			StructuredOutput: c.StructuredOutput, Priority: c.Priority, MaxInFlight: c.MaxConcurrent, StartInFlight: c.StartConcurrent,
		}
	}
	return reply(w, http.StatusOK, out)
}
