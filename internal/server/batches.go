package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

const (
	defaultBatches = 100
	maxBatches     = 1000
)

// Listed is a batch in a list, with its speed.
type Listed struct {
	operation.Listed
	Rate float64 `json:"jobs_per_second"`
	ETA  float64 `json:"eta_seconds" jsonschema:"0 if unknown, or if the batch is done"`
}

// Batches is a list of batches, newest first.
type Batches struct {
	Batches []Listed `json:"batches"`
}

// BatchView is a batch with its speed and the workers that can serve it.
type BatchView struct {
	operation.StatusReport
	Rate float64 `json:"jobs_per_second"`
	ETA  float64 `json:"eta_seconds" jsonschema:"0 if unknown, or if the batch is done"`
	// Timeline is the timeline of the results, see [statestore.Store.Timeline].
	Timeline string `json:"timeline" jsonschema:"a change means that Redis was restarted or replaced: earlier cursors of results are invalid"`
}

// eta returns the seconds until the end at a rate; 0 if the batch does not move or the rate is unknown.
func eta(info batch.Info, state batch.BatchState, rate float64) float64 {
	if !state.Moves() {
		return 0
	}
	left, ok := operation.Progress{Total: info.Counts.Total, Counts: info.Counts, Rate: rate}.ETA()
	if !ok {
		return 0
	}
	return left.Round(time.Second / 10).Seconds()
}

func (s *Server) newest(ctx context.Context, n int) (Batches, error) {
	infos, err := operation.On(s.store, nil).List(ctx, n)
	if err != nil {
		return Batches{}, err
	}
	out := Batches{Batches: make([]Listed, len(infos))}
	for i, info := range infos {
		rate := s.courses.rate(info.Info)
		out.Batches[i] = Listed{Listed: info, Rate: rate, ETA: eta(info.Info, info.State, rate)}
	}
	return out, nil
}

func (s *Server) view(ctx context.Context, id batch.ID) (BatchView, error) {
	report, err := operation.On(s.store, nil).Status(ctx, id)
	if err != nil {
		return BatchView{}, err
	}
	timeline, err := s.store.Timeline(ctx, id)
	if err != nil {
		return BatchView{}, err
	}
	rate := s.courses.rate(report.Info)
	return BatchView{StatusReport: report, Rate: rate, ETA: eta(report.Info, report.State, rate), Timeline: timeline}, nil
}

func (s *Server) listBatches(w http.ResponseWriter, r *http.Request) error {
	n, err := number(r, "limit", defaultBatches, 1, maxBatches)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	list, err := s.newest(ctx, int(n))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	id, err := s.batchOf(ctx, r)
	if err != nil {
		return err
	}
	v, err := s.view(ctx, id)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, v)
}

// batchOf returns the batch in the request's path. A missing batch is an error.
func (s *Server) batchOf(ctx context.Context, r *http.Request) (batch.ID, error) {
	id, err := batch.ParseID(r.PathValue("batch"))
	if err != nil {
		return "", problem(http.StatusNotFound, "not-found", "%s", err)
	}
	return id, operation.On(s.store, nil).Find(ctx, id)
}

// number parses a number in the query and checks its range. It returns otherwise if the parameter is missing.
func number(r *http.Request, name string, otherwise, low, high int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, problem(http.StatusBadRequest, "invalid", "%s=%q is not a number from %d to %d", name, text, low, high)
	}
	return n, nil
}

// seconds parses a duration in the query and checks its limit. A number means seconds.
func seconds(r *http.Request, name string, high time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if n, notNumber := strconv.ParseInt(text, 10, 32); notNumber == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 || d > high {
		return 0, problem(http.StatusBadRequest, "invalid", "%s=%q is not a duration from 0s to %s, such as 20s", name, text, high)
	}
	return d, nil
}

// reply writes v as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(data, '\n'))
	return err
}
