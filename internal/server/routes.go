package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// route is one address of the server.
type route struct {
	pattern string // of [http.ServeMux]
	handle  func(http.ResponseWriter, *http.Request) error
	api     *endpoint // nil for routes outside the API
}

// endpoint is the OpenAPI description of a route.
type endpoint struct {
	id, summary, text string
	params            []param
	body              map[string]any // media type → description, or a value of the body's type
	answers           []answer
}

// param is a query parameter or a header. Path parameters follow from the pattern.
type param struct {
	in, name, text string
	kind           any // a value of the parameter's type
}

// answer is one possible answer of a route. Every route may also answer with a [Problem].
type answer struct {
	status  int
	text    string
	media   string // "" for application/json
	body    any    // a value of the body's type; nil for text
	headers []param
}

const (
	ndjson = "application/x-ndjson"
	events = "text/event-stream"
)

// routes returns all routes of the server. A test checks that all API routes are documented.
func (s *Server) routes() []route {
	resultParams := []param{
		{"query", "after", "return results after this cursor. The default 0 starts with the first result.", int64(0)},
		{"query", "limit", "maximum number of results; default 500, at most 1000", 0},
	}
	return []route{
		{"GET /healthz", s.healthz, &endpoint{id: "healthz", summary: "Whether the process is up; needs no token",
			answers: []answer{{status: 200, text: "the process is up", media: "text/plain"}}}},
		{"GET /readyz", s.readyz, &endpoint{id: "readyz", summary: "Whether Redis answers; needs no token",
			answers: []answer{{status: 200, text: "Redis answers", media: "text/plain"}}}},
		{"GET /openapi.json", s.openAPI, &endpoint{id: "openapi", summary: "This document; needs no token",
			answers: []answer{{status: 200, text: "OpenAPI 3.1"}}}},

		{"POST /api/v1/batches", s.submit, &endpoint{id: "submit", summary: "Submit a batch",
			text: "The spec must not name files: it contains its prompts and schema. Its inputs are in the spec or follow it. The whole submission is validated before any job runs. " +
				"Fields beside spec choose rows: limit (the first rows), sample (random rows) with seed, and rerun, such as {\"batch\":\"b_…\",\"where\":\"failed\"}: " +
				"rows of that batch whose results meet the condition run again, and its other results become results of this batch.",
			params: []param{
				{"header", "Idempotency-Key", "within 30 days, the same key and body create no second batch, and the same key with another body is refused", ""},
			},
			body: map[string]any{
				"multipart/form-data": "A part `spec` (YAML or JSON), then a part `inputs`: JSON lines, unless the spec has `inputs: {stdin: csv}`, json or text. The last part is optional. Parts limit, sample, seed and rerun may come between them.",
				"application/json":    "{\"spec\":{…},\"inputs\":[…]}, at most 64 MiB. The spec may also contain its inputs.",
				ndjson:                "The first line is {\"spec\":{…}}, and each other line one input. `coordinator submit --server` sends a first line {\"plan\":{…}} instead: a compiled plan, optionally with the plans of its planner and its reduce stage, and matching jobs.",
			},
			answers: []answer{
				{status: 201, text: "all jobs are submitted", body: Submitted{}, headers: []param{{"header", "Location", "of the batch", ""}}},
				{status: 200, text: "the key was already used for the same submission", body: Submitted{}},
			}}},
		{"GET /api/v1/batches", s.listBatches, &endpoint{id: "list", summary: "List batches, newest first",
			params:  []param{{"query", "limit", "maximum number of batches; default 100, at most 1000", 0}},
			answers: []answer{{status: 200, text: "the batches", body: Batches{}}}}},
		{"GET /api/v1/batches/{batch}", s.status, &endpoint{id: "status", summary: "Progress and workers of a batch",
			answers: []answer{{status: 200, text: "the batch", body: BatchView{}}}}},
		{"DELETE /api/v1/batches/{batch}", s.remove, &endpoint{id: "remove", summary: "Remove a batch that is done, with its results",
			answers: []answer{{status: 200, text: "the batch was removed", body: RemoveAnswer{}}}}},
		{"GET /api/v1/batches/{batch}/results", s.results, &endpoint{id: "results", summary: "Read results, one JSON object per line",
			text: "The lines are those of `coordinator results`, in the order in which jobs ended. A batch is read to its end when an answer is empty and Batchagent-Phase is DONE.",
			params: append(resultParams,
				param{"query", "wait", "time to wait for a first result, such as 20s, at most 30s; a number means seconds", operation.Duration(0)},
				param{"query", "cursors", "true makes each line {\"cursor\":…,\"result\":…}", false}),
			answers: []answer{{status: 200, text: "results", media: ndjson, headers: []param{
				{"header", "Batchagent-Next-Cursor", "`after` of the next request", int64(0)},
				{"header", "Batchagent-Phase", "phase of the batch before the results were read", ""},
				{"header", "Link", "the next request, rel=next", ""},
			}}}}},
		{"GET /api/v1/batches/{batch}/events", s.events, &endpoint{id: "events", summary: "Progress and results as server-sent events",
			text: "Events: `progress` is a BatchView, `result` a result with its cursor as the event's ID, `done` the last BatchView, after which the stream ends.",
			params: []param{
				resultParams[0],
				{"query", "results", "false omits the results", true},
				{"header", "Last-Event-ID", "continue after this cursor; takes precedence over after", ""},
			},
			answers: []answer{{status: 200, text: "events", media: events}}}},
		{"GET /api/v1/batches/{batch}/jobs/{index}", s.job, &endpoint{id: "job", summary: "A job: its input and the turns in its journal",
			text:    "Redis keeps the journal while the job waits or runs, and after a retryable failure.",
			params:  []param{{"query", "cursor", "cursor of the job's result, to include it in the answer", int64(0)}},
			answers: []answer{{status: 200, text: "the job", body: JobView{}}}}},
		{"POST /api/v1/batches/{batch}/cancel", s.cancel, &endpoint{id: "cancel", summary: "End a batch: jobs without a result get a cancelled one",
			answers: []answer{
				{status: 200, text: "every job has a result", body: CancelAnswer{}},
				{status: 202, text: "the batch is cancelled, and its last jobs are still ending", body: CancelAnswer{}},
			}}},
		{"POST /api/v1/batches/{batch}/retry", s.retry, &endpoint{id: "retry", summary: "Run the failed jobs of a batch again",
			answers: []answer{{status: 200, text: "the failed jobs are queued", body: RetryAnswer{}}}}},
		{"GET /api/v1/batches/{batch}/explanation", s.explain, &endpoint{id: "explain", summary: "Where a batch's time went, and its bottleneck",
			text:    "It sums up the times in the results that Redis still has. For a large batch this takes some seconds.",
			answers: []answer{{status: 200, text: "the explanation", body: diagnose.Explanation{}}}}},
		{"PUT /api/v1/batches/{batch}/budget", s.budget, &endpoint{id: "budget", summary: "Set the budget of a batch; a paused batch resumes",
			body:    map[string]any{"application/json": Budget{}},
			answers: []answer{{status: 200, text: "the budget is set", body: BudgetAnswer{}}}}},
		{"POST /api/v1/batches/{batch}/jobs/{index}/resolve", s.resolve, &endpoint{id: "resolve", summary: "Report how a call with side effects ended, and resume its job",
			text:    "For a job that failed as EffectUnknown while a tool with `on_unknown: ask` ran.",
			body:    map[string]any{"application/json": Resolution{}},
			answers: []answer{{status: 200, text: "the call is resolved", body: ResolveAnswer{}}}}},
		{"GET /api/v1/workers", s.listWorkers, &endpoint{id: "workers", summary: "List the workers that are alive",
			answers: []answer{{status: 200, text: "the workers", body: Workers{}}}}},
		{"GET /api/v1/tools", s.listTools, &endpoint{id: "tools", summary: "List the tools that workers offer",
			answers: []answer{{status: 200, text: "the tools", body: Tools{}}}}},
		{"GET /api/v1/backends", s.listBackends, &endpoint{id: "backends", summary: "List the kinds of model servers and their capabilities",
			answers: []answer{{status: 200, text: "the backends", body: Backends{}}}}},

		{"GET /{$}", s.page(batchesPage), nil},
		{"GET /batches/{batch}", s.page(batchPage), nil},
		{"GET /batches/{batch}/jobs/{index}", s.page(jobPage), nil},
		{"GET /workers", s.page(workersPage), nil},
		{"GET /tools", s.page(toolsPage), nil},
		{"GET /live/{$}", s.live(batchesPage), nil},
		{"GET /live/batches/{batch}", s.live(batchPage), nil},
		{"GET /live/batches/{batch}/jobs/{index}", s.live(jobPage), nil},
		{"GET /live/workers", s.live(workersPage), nil},
		{"GET /live/tools", s.live(toolsPage), nil},
		{"POST /batches/{batch}/cancel", s.button(func(ctx context.Context, id batch.ID) error {
			_, err := s.cancelBatch(ctx, id)
			return err
		}), nil},
		{"POST /batches/{batch}/retry", s.button(func(ctx context.Context, id batch.ID) error {
			_, err := operation.On(s.store, nil).Retry(ctx, id)
			return err
		}), nil},
		{"GET /login", s.loginPage, nil},
		{"POST /login", s.login, nil},
		{"POST /logout", s.logout, nil},
		{"GET /assets/{file}", s.asset, nil},
	}
}

// mux returns a handler for all routes that writes their errors as problems.
func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) {
			err := r.handle(w, req)
			if err == nil || req.Context().Err() != nil && errors.Is(err, req.Context().Err()) {
				return // the client is gone
			}
			s.fail(w, req, problemOf(req.Context(), err))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		s.fail(w, req, problem(http.StatusNotFound, "not-found", "no route for %s %s; /openapi.json lists the routes", req.Method, req.URL.Path))
	})
	return mux
}

// split returns the method and the path of a pattern.
func (r route) split() (method, path string) {
	method, path, _ = strings.Cut(r.pattern, " ")
	return method, path
}
