package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// ExplainTimeout limits the time to sum up a batch's results.
const ExplainTimeout = 2 * time.Minute

// maxCommand limits the body of a command. The longest field is the result of a call for the model.
const maxCommand = 1 << 20

// Budget is a new budget of a batch.
type Budget struct {
	Tokens int64   `json:"tokens,omitempty" jsonschema:"prompt and completion; 0 keeps the present value"`
	USD    float64 `json:"usd,omitempty" jsonschema:"by the spec's prices; 0 keeps the present value"`
}

// Resolution is the outcome of a call that its worker's death interrupted.
type Resolution struct {
	Outcome string `json:"outcome" jsonschema:"done: the call had its effect; failed: it had none; again: run it once more"`
	Result  string `json:"result,omitempty" jsonschema:"the call's result for the model; if empty, a sentence with the outcome"`
	Call    string `json:"call,omitempty" jsonschema:"the call, for example 2.0 for the first one of turn 2; if empty, the only call"`
}

// BudgetAnswer is the answer to a new budget.
type BudgetAnswer struct {
	Change
	Budget batch.Budget `json:"budget"`
	Used   batch.Budget `json:"used"`
	Paused bool         `json:"paused" jsonschema:"the new budget is used up too"`
}

// ResolveAnswer is the answer to a resolution.
type ResolveAnswer struct {
	Change
	Outcome operation.Resolved `json:"outcome"`
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
	e, err := diagnose.Explain(ctx, operation.On(s.store, nil), id, nil)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, e)
}

func (s *Server) budget(w http.ResponseWriter, r *http.Request) error {
	var b Budget
	if err := decode(w, r, &b); err != nil {
		return err
	}
	return s.control(w, r, func(ctx context.Context, id batch.ID) (int, any, error) {
		c, n := s.cluster()
		info, err := c.SetBudget(ctx, id, batch.Budget{Tokens: b.Tokens, USD: b.USD})
		return http.StatusOK, BudgetAnswer{s.changed(ctx, id, n), info.Budget, info.Used, info.Paused}, err
	})
}

func (s *Server) resolve(w http.ResponseWriter, r *http.Request) error {
	var o Resolution
	if err := decode(w, r, &o); err != nil {
		return err
	}
	return s.control(w, r, func(ctx context.Context, id batch.ID) (int, any, error) {
		c, n := s.cluster()
		out, err := c.Resolve(ctx, id, r.PathValue("index"), operation.Resolution{Outcome: o.Outcome, Text: o.Result, Call: o.Call})
		return http.StatusOK, ResolveAnswer{s.changed(ctx, id, n), out}, err
	})
}

// decode decodes a JSON body. Unknown fields are an error, because they would have no effect.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCommand))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return problem(http.StatusBadRequest, "invalid", "the body must be one JSON object, as /openapi.json describes it: %s", err)
	}
	return nil
}
