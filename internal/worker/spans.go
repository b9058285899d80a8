package worker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/internal/tracing"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

// The spans of a job are
//
//	job                     from the start of the attempt that ended it to its commit; one per job, across all workers
//	  invoke_agent <batch>  an attempt
//	    turn
//	      wait for a slot   if it took at least 1 ms
//	      chat <model>      a request to the backend
//	      execute_tool <t>
//
// with names and attributes of https://github.com/open-telemetry/semantic-conventions-genai, and batchagent.* in
// addition. They hold no prompt, argument, answer or error text: only names, numbers and classes of errors.

// worthTelling is the shortest wait for a slot that gets a span.
const worthTelling = time.Millisecond

// spans makes the spans of attempts. Nil makes none. Safe for concurrent use.
type spans struct{ tracer trace.Tracer }

// jobSpans holds the open spans of one attempt. Nil has none.
type jobSpans struct {
	job, attempt trace.Span
	tracer       trace.Tracer
}

// begin starts the span of the job. All attempts at a job use the same IDs for it.
func (s *spans) begin(ctx context.Context, work *work, l batch.Lease) (context.Context, *jobSpans) {
	if s == nil {
		return ctx, nil
	}
	ctx, root := s.tracer.Start(tracing.WithJob(ctx, l.Job), "job", trace.WithNewRoot(), trace.WithAttributes(
		attribute.String("batchagent.batch.id", string(l.Job.Batch)),
		attribute.String("batchagent.batch.name", work.name),
		attribute.String("batchagent.batch.owner", work.from.Owner),
		attribute.Int64("batchagent.job.index", l.Job.Index)))
	return ctx, &jobSpans{job: root, tracer: s.tracer}
}

// run starts the span of the attempt.
func (j *jobSpans) run(ctx context.Context, w *Worker, a *attempt, resumed int) context.Context {
	if j == nil {
		return ctx
	}
	ctx, j.attempt = j.tracer.Start(ctx, "invoke_agent "+a.work.name, trace.WithAttributes(
		semconv.GenAIOperationNameInvokeAgent,
		semconv.GenAIAgentName(a.work.name),
		semconv.GenAIConversationID(a.lease.Job.String()),
		attribute.String("batchagent.worker", w.cfg.ID),
		attribute.Int("batchagent.attempt", a.lease.Attempt),
		attribute.Int64("batchagent.token", int64(a.lease.Token)),
		attribute.Int("batchagent.turns.resumed", resumed)))
	return ctx
}

// ran ends the span of the attempt.
func (j *jobSpans) ran(r batch.Result, err error) {
	if j == nil {
		return
	}
	if outcome := interrupted(err); outcome != "" {
		j.attempt.SetAttributes(attribute.String("batchagent.outcome", outcome))
		j.attempt.End()
		return
	}
	ended(j.attempt, r)
}

// interrupted returns why an attempt ended without a result, or "" if it has one.
func interrupted(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, statestore.ErrFenced):
		return "fenced"
	case errors.Is(err, errCancelled):
		return "cancelled"
	case errors.Is(err, agent.ErrStopped), errors.Is(err, errDrained), errors.Is(err, errBackendAway), errors.Is(err, errOtherModel), errors.Is(err, statestore.ErrConflict):
		return "released"
	default:
		return "defect"
	}
}

// committed ends the span of the job. It is called only for the attempt that committed its result.
func (j *jobSpans) committed(r batch.Result) {
	if j != nil {
		ended(j.job, r)
	}
}

// ended sets a span's attributes from a result, and ends the span.
func ended(span trace.Span, r batch.Result) {
	attrs := []attribute.KeyValue{
		attribute.String("batchagent.outcome", string(r.Status)),
		attribute.Int("batchagent.turns", r.Turns),
		semconv.GenAIUsageInputTokens(int(r.Usage.PromptTokens)),
		semconv.GenAIUsageOutputTokens(int(r.Usage.CompletionTokens)),
		semconv.GenAIUsageCacheReadInputTokens(int(r.Usage.CachedTokens)),
		attribute.Int64("batchagent.tools.asked", r.Tools.Asked),
		attribute.Int64("batchagent.tools.executed", r.Tools.Executed),
	}
	if r.Model != "" {
		attrs = append(attrs, semconv.GenAIResponseModel(r.Model))
	}
	span.SetAttributes(attrs...)
	if r.Error != nil {
		failed(span, string(r.Error.Type))
	}
	span.End()
}

// failed sets a span's error to a class. Error texts are left out: they may hold the words of a model or a tool.
func failed(span trace.Span, class string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(class))
	span.SetStatus(codes.Error, class)
}

// onTurn returns the value for [agent.Job.OnTurn], nil if j is nil.
func (j *jobSpans) onTurn() func(context.Context, int) (func(context.Context) context.Context, func(error)) {
	if j == nil {
		return nil
	}
	return func(ctx context.Context, number int) (func(context.Context) context.Context, func(error)) {
		_, span := j.tracer.Start(ctx, "turn", trace.WithAttributes(attribute.Int("batchagent.turn", number)))
		return func(ctx context.Context) context.Context { return trace.ContextWithSpan(ctx, span) },
			func(err error) {
				if e, ok := errors.AsType[*batch.Error](err); ok {
					failed(span, string(e.Type))
				} else if outcome := interrupted(err); outcome != "" {
					span.SetAttributes(attribute.String("batchagent.outcome", outcome))
				}
				span.End()
			}
	}
}

// tracedModel makes model calls with one span each.
type tracedModel struct {
	agent.Model
	tracer trace.Tracer
	known  []attribute.KeyValue // attributes of every call
}

// traceModel adds spans to a model's calls.
func traceModel(model agent.Model, b backend.Backend, tracer trace.Tracer) agent.Model {
	provider := b.Capabilities().Name
	if provider == "bedrock" {
		provider = semconv.GenAIProviderNameAWSBedrock.Value.AsString()
	}
	m := tracedModel{model, tracer, []attribute.KeyValue{
		semconv.GenAIOperationNameChat, semconv.GenAIProviderNameKey.String(provider), semconv.GenAIRequestStream(true),
	}}
	if u, err := url.Parse(b.Endpoint()); err == nil && u.Hostname() != "" {
		m.known = append(m.known, semconv.ServerAddress(u.Hostname()))
		if port, err := strconv.Atoi(u.Port()); err == nil {
			m.known = append(m.known, semconv.ServerPort(port))
		}
	}
	return keepCounting(m, model)
}

// Generate implements [agent.Model].
func (m tracedModel) Generate(ctx context.Context, r *backend.Request, o backend.Observer) (*backend.Response, error) {
	ctx, span := m.tracer.Start(ctx, "chat "+r.Model, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(m.known...), trace.WithAttributes(asked(r)...))
	defer span.End()
	began, told := time.Now(), o.FirstToken
	o.FirstToken = func() {
		span.SetAttributes(semconv.GenAIResponseTimeToFirstChunk(time.Since(began).Seconds()))
		if told != nil {
			told()
		}
	}
	resp, err := m.Model.Generate(ctx, r, o)
	if err != nil {
		class := string(backend.ClassOf(err))
		if class == "" {
			class = "cancelled"
		}
		failed(span, class)
		if e, ok := errors.AsType[*backend.Error](err); ok && e.Status != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(e.Status))
		}
		return resp, err
	}
	span.SetAttributes(
		semconv.GenAIResponseModel(resp.Model),
		semconv.GenAIResponseFinishReasons(string(resp.Finish)),
		semconv.GenAIUsageInputTokens(int(resp.Usage.PromptTokens)),
		semconv.GenAIUsageOutputTokens(int(resp.Usage.CompletionTokens)),
		attribute.Int("batchagent.tool_calls", len(resp.Message.ToolCalls)))
	if resp.Usage.CachedTokens >= 0 { // the server reports it
		span.SetAttributes(semconv.GenAIUsageCacheReadInputTokens(int(resp.Usage.CachedTokens)))
	}
	return resp, err
}

// asked returns the attributes of a request.
func asked(r *backend.Request) []attribute.KeyValue {
	attrs := []attribute.KeyValue{semconv.GenAIRequestModel(r.Model), semconv.GenAIConversationID(r.Hints.Session), attribute.String("batchagent.request.id", r.ID)}
	if r.Sampling.MaxTokens > 0 {
		attrs = append(attrs, semconv.GenAIRequestMaxTokens(r.Sampling.MaxTokens))
	}
	if t := r.Sampling.Temperature; t != nil {
		attrs = append(attrs, semconv.GenAIRequestTemperature(*t))
	}
	return attrs
}

// tracedTools runs tool calls with one span each.
type tracedTools struct {
	agent.Tools
	tracer trace.Tracer
	worker string
}

// Call implements [agent.Tools].
func (t tracedTools) Call(ctx context.Context, c toolpool.Call) (toolpool.Result, error) {
	name := toolpool.SpecName(c.Name)
	ctx, span := t.tracer.Start(ctx, "execute_tool "+name, trace.WithAttributes(
		semconv.GenAIOperationNameExecuteTool,
		semconv.GenAIToolName(name),
		semconv.GenAIToolType("function"),
		attribute.String("batchagent.tool.call", fmt.Sprintf("%d.%d", c.Turn, c.Index))))
	defer span.End()
	r, err := t.Tools.Call(ctx, c)
	unknown, isUnknown := errors.AsType[*toolpool.UnknownEffectError](err)
	switch {
	case isUnknown:
		failed(span, string(batch.EffectUnknown))
		span.SetAttributes(attribute.Bool("batchagent.tool.parked", unknown.Asked))
	case err != nil:
		failed(span, "cancelled")
	default:
		by := r.By
		if r.Executed || r.Source == toolpool.FromProcess {
			by = t.worker
		}
		span.SetAttributes(
			attribute.String("batchagent.tool.source", string(r.Source)),
			attribute.Bool("batchagent.tool.shared", r.Source == toolpool.FromProcess || r.Source == toolpool.FromCluster || r.Source == toolpool.FromCache),
			attribute.Int("batchagent.tool.result.bytes", len(r.Content)))
		if by != "" {
			span.SetAttributes(attribute.String("batchagent.tool.executed_by", by))
		}
		if r.Failed {
			failed(span, "tool_error")
		}
	}
	return r, err
}

// tracedSlots hands out slots, with a span for each long wait.
type tracedSlots struct {
	agent.Slots
	tracer trace.Tracer
}

// Acquire implements [agent.Slots].
func (t tracedSlots) Acquire(ctx context.Context, turnsRemaining int) (func(), error) {
	began := time.Now()
	release, err := t.Slots.Acquire(ctx, turnsRemaining)
	if time.Since(began) >= worthTelling {
		_, span := t.tracer.Start(ctx, "wait for a slot", trace.WithTimestamp(began))
		span.End()
	}
	return release, err
}
