package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/batchagent/batchagent/internal/coordinator"
	"github.com/batchagent/batchagent/pkg/batch"
)

// ExplainTimeout bounds the adding up of a batch's results.
const ExplainTimeout = 2 * time.Minute

// maxSaying bounds a body that says something about a batch. The longest is what a model reads as a call's result.
const maxSaying = 1 << 20

// Budget is how much a batch may use from now on.
type Budget struct {
	Tokens int64   `json:"tokens,omitempty" jsonschema:"prompt and completion; 0 leaves it as it is"`
	USD    float64 `json:"usd,omitempty" jsonschema:"by the spec's prices; 0 leaves it as it is"`
}

// Resolution says how a call ended of which no worker knows.
type Resolution struct {
	Outcome string `json:"outcome" jsonschema:"done: it had its effect; failed: it had none; again: run it once more"`
	Result  string `json:"result,omitempty" jsonschema:"what the model reads as the call's result; a sentence that says the outcome if it is empty"`
	Call    string `json:"call,omitempty" jsonschema:"which call of the job, as 2.0 for the first one of turn 2; the only one if it is empty"`
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	give, ok := take(s.streams)
	if !ok {
		return busy(fmt.Sprintf("%d streams are open already", cap(s.streams)))
	}
	defer give()
	ctx, cancel := context.WithTimeout(r.Context(), ExplainTimeout)
	defer cancel()
	id, err := s.batchOf(ctx, r)
	if err != nil {
		return err
	}
	con, _ := listened()
	e, err := coordinator.Explain(ctx, s.store, id, con)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, e)
}

func (s *Server) budget(w http.ResponseWriter, r *http.Request) error {
	var b Budget
	if err := said(w, r, &b); err != nil {
		return err
	}
	return s.control(w, r, func(ctx context.Context, id batch.ID) (*sentences, error) {
		con, said := listened()
		return said, coordinator.SetBudget(ctx, s.store, id, batch.Budget{Tokens: b.Tokens, USD: b.USD}, con)
	})
}

func (s *Server) resolve(w http.ResponseWriter, r *http.Request) error {
	var o Resolution
	if err := said(w, r, &o); err != nil {
		return err
	}
	return s.control(w, r, func(ctx context.Context, id batch.ID) (*sentences, error) {
		con, said := listened()
		return said, coordinator.Resolve(ctx, s.store, id, r.PathValue("index"),
			coordinator.ResolveOptions{Outcome: o.Outcome, Text: o.Result, Call: o.Call}, con)
	})
}

// said reads a body of JSON. A field that it does not know is a mistake: it would be without effect.
func said(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSaying))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return problem(http.StatusBadRequest, "invalid", "the body must be one JSON object, as /openapi.json describes it: %s", err)
	}
	return nil
}
