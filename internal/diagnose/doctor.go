package diagnose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/batchagent/batchagent/internal/config"
	"github.com/batchagent/batchagent/internal/fault"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
	"github.com/batchagent/batchagent/pkg/spec"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool/sqltool"
)

const (
	// doctorCall limits one model call of the doctor. A cold server may need a while to load.
	doctorCall = time.Minute
	// pings is the number of round trips for the median latency.
	pings = 21
	// slowRedis is the latency above which a worker spends more time on Redis than on its own work.
	slowRedis = 5 * time.Millisecond
)

// DoctorOptions select the checks.
type DoctorOptions struct {
	Redis     config.Redis
	Backend   string // URL; "" skips the backend
	NoRedis   bool   // the user named only a backend: Redis at its default address is optional
	ToolsRoot string
	ToolsFile string                           // declares more tools; "" for the built-in tools only
	Drivers   map[string]func() sqltool.Driver // drivers of the databases that ToolsFile may name
	Getenv    func(string) string
	Logger    *slog.Logger
}

// Mark is the outcome of a check.
type Mark string

// Outcomes of checks.
const (
	Good Mark = "ok"
	Warn Mark = "warn"
	Bad  Mark = "FAIL"
)

// Check is one check and its outcome.
type Check struct {
	Mark   Mark
	What   string // what was checked
	Found  string // what was found
	Remedy string // what to do; "" if the check is good
}

// checkup passes on each check as it ends.
type checkup struct {
	report      func(Check) error
	failed      int
	unreachable error
	err         error // of report
}

func (c *checkup) line(m Mark, what, found, do string) {
	if m == Bad {
		c.failed++
	}
	if err := c.report(Check{m, what, found, do}); err != nil && c.err == nil {
		c.err = err
	}
}

// Doctor checks Redis, a backend and the tools, and calls report with each check. It returns nil if no check failed, an
// UnreachableError if Redis or the backend does not answer, and ErrJobsFailed otherwise.
func Doctor(ctx context.Context, o DoctorOptions, report func(Check) error) error {
	c := &checkup{report: report}
	c.redis(ctx, o.Redis, o.NoRedis)
	if o.Backend == "" {
		c.line(Warn, "backend", "none named", "name one with --backend, or set BATCHAGENT_BACKEND; `coordinator backends` lists the kinds")
	} else if err := c.backend(ctx, o); err != nil {
		return err
	}
	c.tools(ctx, o)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case c.err != nil:
		return c.err
	case c.unreachable != nil:
		return &fault.UnreachableError{Err: c.unreachable}
	case c.failed > 0:
		return fault.ErrJobsFailed
	}
	return nil
}

// redis checks the Redis server. If optional is set, a server that does not answer is only a warning.
func (c *checkup) redis(ctx context.Context, to config.Redis, optional bool) {
	s, err := operation.Connect(ctx, to)
	if err != nil && optional {
		c.line(Warn, "redis", "none answers at the default address", "`coordinator run` needs none; for `submit` and workers start redis-server, or name another with --redis")
		return
	}
	if err != nil {
		c.unreachable = errors.New("no answer from Redis")
		c.line(Bad, "redis", err.Error(), "start redis-server, or name another with --redis; a password may be in BATCHAGENT_REDIS_PASSWORD")
		return
	}
	defer s.Close()
	version, err := s.Version(ctx)
	switch {
	case err != nil:
		c.line(Warn, "redis version", err.Error(), "allow the INFO command for this user")
	case tooOld(version):
		c.line(Bad, "redis version", version+" at "+s.Address(), "use Redis 6.2 or later, or Valkey")
	default:
		c.line(Good, "redis version", version+" at "+s.Address(), "")
	}
	warnings := s.Warnings(ctx)
	for _, text := range warnings {
		found, do, _ := strings.Cut(text, "; ")
		m := Warn
		if strings.Contains(found, "evict") {
			m = Bad // jobs would be lost
		}
		c.line(m, "redis settings", found, do)
	}
	if len(warnings) == 0 {
		c.line(Good, "redis settings", "keeps all data", "")
	}
	c.latency(ctx, s)
}

func (c *checkup) latency(ctx context.Context, s *statestore.Store) {
	took := make([]time.Duration, pings)
	for i := range took {
		start := time.Now()
		if err := s.Ping(ctx); err != nil {
			c.line(Bad, "redis latency", err.Error(), "look at Redis' log")
			return
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	found := fmt.Sprintf("%s median, %s worst of %d", took[pings/2].Round(time.Microsecond), took[pings-1].Round(time.Microsecond), pings)
	if took[pings/2] > slowRedis {
		c.line(Warn, "redis latency", found, "move Redis closer to the workers: each turn of each job waits for it")
		return
	}
	c.line(Good, "redis latency", found, "")
}

// tooOld reports whether a version is below 6.2. An unreadable version is not too old.
func tooOld(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major < 6 || major == 6 && minor < 2)
}

func (c *checkup) backend(ctx context.Context, o DoctorOptions) error {
	b, err := dial.Open(ctx, o.Backend, dial.Options{Logger: o.Logger, Getenv: o.Getenv})
	if err != nil {
		return fault.Usagef("--backend: %w", err)
	}
	defer b.Close()
	shown := config.Redact(b.Endpoint())
	probe, cancel := context.WithTimeout(ctx, localrun.BackendTimeout)
	defer cancel()
	models, err := localrun.ReadyModels(probe, b)
	if err != nil {
		if e, ok := errors.AsType[*backend.Error](err); !ok || e.Status == 0 {
			c.unreachable = errors.New("the backend does not answer")
		} else if e.Class.Retryable() {
			c.unreachable = fmt.Errorf("the backend answers with an error: HTTP %d", e.Status)
		}
		c.line(Bad, "backend", err.Error(), whatToDo(err))
		return nil
	}
	if len(models) == 0 {
		c.line(Warn, "backend", shown+" lists no models (/models)", "name the model in each spec (model:); the checks of calls are skipped")
		return nil
	}
	m := models[0]
	window := "context length unknown"
	if m.MaxModelLen > 0 {
		window = human.Count(int64(m.MaxModelLen)) + " tokens of context"
	}
	c.line(Good, "backend", fmt.Sprintf("%s serves %s, %s", shown, m.ID, window), "")
	if m.Simulated {
		c.line(Warn, "model", "simulated: its answers are made up", "name a real model server for real work")
	}
	c.call(ctx, b, m.ID)
	c.schema(ctx, b, m.ID)
	return nil
}

// call requests one tool call.
func (c *checkup) call(ctx context.Context, b backend.Backend, model string) {
	r := question(model, "Call the tool get_weather for the city of Rome.")
	r.Tools = []backend.Tool{{Name: "get_weather", Description: "Current weather of a city",
		Parameters: []byte(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`)}}
	resp, err := generate(ctx, b, r)
	switch {
	case err != nil:
		c.line(Bad, "tool call", err.Error(), whatToDo(err))
	case resp.Finish == backend.FinishLength:
		c.line(Warn, "tool call", fmt.Sprintf("the answer was cut at %d tokens", r.Sampling.MaxTokens), "a model that reasons at length needs a larger sampling.max_tokens")
	case len(resp.Message.ToolCalls) == 0:
		c.forcedCall(ctx, b, r, resp)
	case !json.Valid([]byte(resp.Message.ToolCalls[0].Arguments)):
		c.line(Bad, "tool call", "the arguments are not JSON: "+human.FirstLine(resp.Message.ToolCalls[0].Arguments, 60), "check that the server's tool parser fits the model")
	default:
		c.line(Good, "tool call", fmt.Sprintf("%s(%s) in %s", resp.Message.ToolCalls[0].Name, human.FirstLine(resp.Message.ToolCalls[0].Arguments, 60), human.Span(resp.Duration)), "")
	}
}

// forcedCall reports why a model did not call a tool. The server did not parse the model's call, the model calls tools
// only if it must, or the server does not support tools.
func (c *checkup) forcedCall(ctx context.Context, b backend.Backend, r *backend.Request, answer *backend.Response) {
	const parser = "start vLLM with --enable-auto-tool-choice --tool-call-parser, SGLang with --tool-call-parser, Dynamo's workers with --dyn-tool-call-parser"
	if text := answer.Message.Content; strings.Contains(text, "get_weather") && strings.ContainsAny(text, "{<[") {
		c.line(Bad, "tool call", "the model wrote a call and the server took it for text: "+human.FirstLine(text, 60), parser+", of the model's own form")
		return
	}
	forced := *r
	forced.ToolChoice = backend.ToolChoiceRequired
	resp, err := generate(ctx, b, &forced)
	if err == nil && len(resp.Message.ToolCalls) > 0 {
		c.line(Bad, "tool call", "the model answered without calling the tool, but does when it has to: the server can do tools",
			"use a model that is trained on tools; the server reads calls")
		return
	}
	found := "the model answered without calling the tool, and does not when it has to"
	if err != nil {
		found += ": " + err.Error()
	}
	c.line(Bad, "tool call", found, "use a model that is trained on tools; if it is, "+parser)
}

// schema requests one answer that matches a schema.
func (c *checkup) schema(ctx context.Context, b backend.Backend, model string) {
	r := question(model, `Is Rome in Italy? Answer with the JSON object {"yes": true} or {"yes": false}.`)
	r.Schema = &backend.Schema{Name: "answer", JSON: []byte(`{"type":"object","properties":{"yes":{"type":"boolean"}},"required":["yes"],"additionalProperties":false}`)}
	resp, err := generate(ctx, b, r)
	if err != nil {
		c.line(Bad, "schema answer", err.Error(), whatToDo(err))
		return
	}
	if resp.Finish == backend.FinishLength {
		c.line(Warn, "schema answer", fmt.Sprintf("the answer was cut at %d tokens", r.Sampling.MaxTokens), "a model that reasons at length needs a larger sampling.max_tokens")
		return
	}
	var answer struct {
		Yes *bool `json:"yes"`
	}
	if json.Unmarshal([]byte(resp.Message.Content), &answer) != nil || answer.Yes == nil {
		c.line(Bad, "schema answer", "the answer does not match: "+human.FirstLine(resp.Message.Content, 60), "expect repairs and failed jobs with an output schema; use a server that enforces schemas, or a larger model")
		return
	}
	c.line(Good, "schema answer", fmt.Sprintf("%s in %s", human.FirstLine(resp.Message.Content, 60), human.Span(resp.Duration)), "")
	if b.Capabilities().CachedUsage {
		c.cached(ctx, b, model)
	}
}

// cachedPrompt is longer than a block of any prefix cache.
var cachedPrompt = strings.Repeat("Rome is a city in Italy, and Paris is a city in France. ", 60) + "Answer with one word: where is Rome?"

// cached sends the same long prompt twice. vLLM omits cached tokens from an answer if nothing was cached.
func (c *checkup) cached(ctx context.Context, b backend.Backend, model string) {
	r := question(model, cachedPrompt)
	r.Sampling.MaxTokens = 8
	for range 2 {
		resp, err := generate(ctx, b, r)
		if err != nil || resp.Usage.CachedTokens >= 0 {
			return
		}
	}
	c.line(Warn, "cached tokens", "the server reports none for a prompt that it received just before",
		"start vLLM with --enable-prompt-tokens-details, SGLang with --enable-cache-report, if it was not")
}

func question(model, text string) *backend.Request {
	zero := 0.0
	return &backend.Request{ID: "doctor", Model: model, Sampling: backend.Sampling{Temperature: &zero, MaxTokens: 1024},
		Messages: []backend.Message{{Role: backend.RoleUser, Content: text}}}
}

func generate(ctx context.Context, b backend.Backend, r *backend.Request) (*backend.Response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, doctorCall, fmt.Errorf("no answer within %s", doctorCall))
	defer cancel()
	return b.Generate(ctx, r, backend.Observer{})
}

func whatToDo(err error) string {
	e, ok := errors.AsType[*backend.Error](err)
	switch class := backend.ClassOf(err); class {
	case backend.Auth:
		return "give the key that the message names in the environment"
	case backend.QuotaExhausted:
		return "add credit or raise the quota of the account"
	case backend.RateLimited, backend.Overloaded:
		return "try again when the server is less busy"
	case backend.UnknownModel:
		return "name a model that the server has"
	case "": // the doctor's own timeout
		return "the server is slow or stuck; look at its load and its log"
	case backend.ContextTooLong:
		return "give the server a larger context: a request of a few hundred tokens does not fit"
	case backend.InvalidRequest:
		return "check the URL's scheme and path, and the field that the message names"
	default:
		if ok && e.Status != 0 {
			return "check the URL's scheme and path; the server answers with an error, so look at its log too"
		}
		return "start the server, or name another with --backend; look at its log"
	}
}

func (c *checkup) tools(ctx context.Context, o DoctorOptions) {
	const what = "tools"
	tools, err := localrun.OpenTools(ctx, localrun.ToolOptions{Root: o.ToolsRoot, File: o.ToolsFile, Drivers: o.Drivers, Getenv: o.Getenv, Logger: o.Logger},
		&spec.Prepared{Jobs: &spec.Compiled{}})
	if err != nil {
		c.line(Bad, what, err.Error(), "name a directory that exists with --tools-root, and fix the file of --tools")
		return
	}
	defer tools.Close()
	if _, err := os.ReadDir(o.ToolsRoot); err != nil {
		c.line(Bad, what, err.Error(), "let this user read the directory of --tools-root")
		return
	}
	c.line(Good, what, strings.Join(tools.Pool.Names(), ", ")+" below "+o.ToolsRoot, "")
}
