// Package serving decides which workers can run the jobs of a batch. It does no I/O.
package serving

import (
	"cmp"
	"slices"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// Needs returns the requirements of a batch for its workers: its header, with the model that it is bound to.
func Needs(info batch.Info) batch.Header {
	h := info.Header
	h.Model = cmp.Or(h.Model, info.Bound)
	return h
}

// Obstacle returns the reason why a worker cannot run jobs of a batch; "" if it can.
func Obstacle(h batch.Header, w batch.WorkerRecord) string {
	if h.Model != "" && len(w.Models) > 0 && !slices.ContainsFunc(w.Models, func(id string) bool { return backend.Model{ID: id}.Is(h.Model) }) {
		return "serves " + strings.Join(w.Models, ", ") + " and not " + h.Model
	}
	for _, t := range h.Tools {
		if !slices.Contains(w.Tools, toolpool.WireName(t)) {
			return "has no tool " + t
		}
	}
	p := PauseFor(h, w)
	switch {
	case w.Lost:
		return "is lost"
	case w.Draining:
		return "is shutting down"
	case p != nil:
		return "is " + p.String()
	case !w.Ready:
		return "waits for its model server " + w.Endpoint
	}
	return ""
}

// PauseFor returns why a worker makes no model calls for a batch; nil if it makes calls.
func PauseFor(h batch.Header, w batch.WorkerRecord) *batch.Pause {
	model := h.Model
	if model == "" && len(w.Models) > 0 {
		model = w.Models[0]
	}
	if w.Lost {
		return nil
	}
	i := slices.IndexFunc(w.Pauses, func(p batch.Pause) bool { return p.Model == "" || p.Model == model })
	if i < 0 {
		return nil
	}
	return &w.Pauses[i]
}
