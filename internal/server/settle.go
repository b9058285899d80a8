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

// ExplainTimeout limits the time to sum up a batch's results.
const ExplainTimeout = 2 * time.Minute

// maxSaying limits the body of a command. The longest field is the result of a call for the model.
const maxSaying = 1 << 20

// Budget is a new budget of a batch.
type Budget struct {
	Tokens int64   `json:"tokens,omitempty" jsonschema:"prompt and completion; 0 keeps the present value"`
	USD    float64 `json:"usd,omitempty" jsonschema:"by the spec's prices; 0 keeps the present value"`
}

// Resolution is the outcome of a call that its worker's death interrupted.
type Resolution struct {
	Outcome string `json:"outcome" jsonschema:"done: the call had its effect; failed: it had none; again: run it once more"`
	Result  string `json:"result,omitempty" jsonschema:"the call's result for the model; if empty, a sentence with the outcome"`
	Call    string `json:"call,omitempty" jsonschema:"place of the call, for example 2.0 for the first one of turn 2; if empty, the only call"`
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

// said decodes a JSON body. Unknown fields are an error, because they would have no effect.
func said(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSaying))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return problem(http.StatusBadRequest, "invalid", "the body must be one JSON object, as /openapi.json describes it: %s", err)
	}
	return nil
}
