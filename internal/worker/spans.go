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

// longWait is the shortest wait for a slot that gets a span.
const longWait = time.Millisecond

// spans makes the spans of a worker. Nil makes none. Safe for concurrent use.
type spans struct {
	tracer trace.Tracer
	worker string
	known  []attribute.KeyValue // attributes of every model call
}

// newSpans returns nil if jobs are not traced.
func newSpans(cfg Config) *spans {
	if cfg.Tracer == nil {
		return nil
	}
	provider := cfg.Backend.Capabilities().Name
	if provider == "bedrock" {
		provider = semconv.GenAIProviderNameAWSBedrock.Value.AsString()
	}
	s := &spans{cfg.Tracer, cfg.ID, []attribute.KeyValue{
		semconv.GenAIOperationNameChat, semconv.GenAIProviderNameKey.String(provider), semconv.GenAIRequestStream(true),
	}}
	if u, err := url.Parse(cfg.Backend.Endpoint()); err == nil && u.Hostname() != "" {
		s.known = append(s.known, semconv.ServerAddress(u.Hostname()))
		if port, err := strconv.Atoi(u.Port()); err == nil {
			s.known = append(s.known, semconv.ServerPort(port))
		}
	}
	return s
}

// jobSpans holds the open spans of one attempt. Nil has none.
type jobSpans struct {
	job, attempt trace.Span
	tracer       trace.Tracer
}

// beginJob starts the span of the job. All attempts at a job use the same IDs for it.
func (s *spans) beginJob(ctx context.Context, b *openBatch, l batch.Lease) (context.Context, *jobSpans) {
	if s == nil {
		return ctx, nil
	}
	ctx, root := s.tracer.Start(tracing.WithJob(ctx, l.Job), "job", trace.WithNewRoot(), trace.WithAttributes(
		attribute.String("batchagent.batch.id", string(l.Job.Batch)),
		attribute.String("batchagent.batch.name", b.name),
		attribute.String("batchagent.batch.owner", b.from.Owner),
		attribute.Int64("batchagent.job.index", l.Job.Index)))
	return ctx, &jobSpans{job: root, tracer: s.tracer}
}

// beginAttempt starts the span of the attempt.
func (j *jobSpans) beginAttempt(ctx context.Context, s *session, resumed int) context.Context {
	if j == nil {
		return ctx
	}
	ctx, j.attempt = j.tracer.Start(ctx, "invoke_agent "+s.batch.name, trace.WithAttributes(
		semconv.GenAIOperationNameInvokeAgent,
		semconv.GenAIAgentName(s.batch.name),
		semconv.GenAIConversationID(s.lease.Job.String()),
		attribute.String("batchagent.worker", s.worker),
		attribute.Int("batchagent.attempt", s.lease.Attempt),
		attribute.Int64("batchagent.token", int64(s.lease.Token)),
		attribute.Int("batchagent.turns.resumed", resumed)))
	return ctx
}

// endAttempt ends the span of the attempt.
func (j *jobSpans) endAttempt(r batch.Result, err error) {
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

// beginTurn starts the span of a turn; see [agent.Observer].
func (j *jobSpans) beginTurn(ctx context.Context, number int) (with func(context.Context) context.Context, ended func(error)) {
	if j == nil {
		return unchanged, ignored
	}
	_, span := j.tracer.Start(ctx, "turn", trace.WithAttributes(attribute.Int("batchagent.turn", number)))
	with = func(ctx context.Context) context.Context { return trace.ContextWithSpan(ctx, span) }
	return with, func(err error) {
		if e, ok := errors.AsType[*batch.Error](err); ok {
			failed(span, string(e.Type))
		} else if outcome := interrupted(err); outcome != "" {
			span.SetAttributes(attribute.String("batchagent.outcome", outcome))
		}
		span.End()
	}
}

func unchanged(ctx context.Context) context.Context { return ctx }

func ignored(error) {}

// callSpan is the span of a model call. Nil has none.
type callSpan struct{ span trace.Span }

// beginCall starts the span of a model call. The observer records the time to its first token.
func (s *spans) beginCall(ctx context.Context, r *backend.Request, o *backend.Observer) (context.Context, *callSpan) {
	if s == nil {
		return ctx, nil
	}
	ctx, span := s.tracer.Start(ctx, "chat "+r.Model, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(s.known...), trace.WithAttributes(asked(r)...))
	began, next := time.Now(), o.FirstToken
	o.FirstToken = func() {
		span.SetAttributes(semconv.GenAIResponseTimeToFirstChunk(time.Since(began).Seconds()))
		if next != nil {
			next()
		}
	}
	return ctx, &callSpan{span}
}

func (c *callSpan) end(resp *backend.Response, err error) {
	if c == nil {
		return
	}
	defer c.span.End()
	if err != nil {
		class := string(backend.ClassOf(err))
		if class == "" {
			class = "cancelled"
		}
		failed(c.span, class)
		if e, ok := errors.AsType[*backend.Error](err); ok && e.Status != 0 {
			c.span.SetAttributes(semconv.HTTPResponseStatusCode(e.Status))
		}
		return
	}
	c.span.SetAttributes(
		semconv.GenAIResponseModel(resp.Model),
		semconv.GenAIResponseFinishReasons(string(resp.Finish)),
		semconv.GenAIUsageInputTokens(int(resp.Usage.PromptTokens)),
		semconv.GenAIUsageOutputTokens(int(resp.Usage.CompletionTokens)),
		attribute.Int("batchagent.tool_calls", len(resp.Message.ToolCalls)))
	if resp.Usage.CachedTokens >= 0 { // the server reports it
		c.span.SetAttributes(semconv.GenAIUsageCacheReadInputTokens(int(resp.Usage.CachedTokens)))
	}
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

// toolSpan is the span of a tool call. Nil has none.
type toolSpan struct {
	span   trace.Span
	worker string
}

// beginTool starts the span of a tool call.
func (s *spans) beginTool(ctx context.Context, c toolpool.Call) (context.Context, *toolSpan) {
	if s == nil {
		return ctx, nil
	}
	name := toolpool.SpecName(c.Name)
	ctx, span := s.tracer.Start(ctx, "execute_tool "+name, trace.WithAttributes(
		semconv.GenAIOperationNameExecuteTool,
		semconv.GenAIToolName(name),
		semconv.GenAIToolType("function"),
		attribute.String("batchagent.tool.call", fmt.Sprintf("%d.%d", c.Turn, c.Index))))
	return ctx, &toolSpan{span, s.worker}
}

func (t *toolSpan) end(r toolpool.Result, err error) {
	if t == nil {
		return
	}
	defer t.span.End()
	unknown, isUnknown := errors.AsType[*toolpool.UnknownEffectError](err)
	switch {
	case isUnknown:
		failed(t.span, string(batch.EffectUnknown))
		t.span.SetAttributes(attribute.Bool("batchagent.tool.parked", unknown.Asked))
	case err != nil:
		failed(t.span, "cancelled")
	default:
		by := r.By
		if r.Executed || r.Source == toolpool.FromProcess {
			by = t.worker
		}
		t.span.SetAttributes(
			attribute.String("batchagent.tool.source", string(r.Source)),
			attribute.Bool("batchagent.tool.shared", r.Source == toolpool.FromProcess || r.Source == toolpool.FromCluster || r.Source == toolpool.FromCache),
			attribute.Int("batchagent.tool.result.bytes", len(r.Content)))
		if by != "" {
			t.span.SetAttributes(attribute.String("batchagent.tool.executed_by", by))
		}
		if r.Failed {
			failed(t.span, "tool_error")
		}
	}
}

// waitedForSlot makes a span for a wait that was long.
func (s *spans) waitedForSlot(ctx context.Context, began time.Time) {
	if s != nil && time.Since(began) >= longWait {
		_, span := s.tracer.Start(ctx, "wait for a slot", trace.WithTimestamp(began))
		span.End()
	}
}
