package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/internal/tracing"
	"github.com/batchagent/batchagent/pkg/agent"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// spannedAttempt makes the spans of an attempt of one turn, and does nothing else.
func spannedAttempt(ctx context.Context, s *session, r batch.Result) {
	ctx, s.span = s.spans.beginJob(ctx, s.batch, s.lease)
	ctx = s.span.beginAttempt(ctx, s, 0)
	_, ended := s.TurnBegan(ctx, 1)
	ended(nil)
	s.span.endAttempt(r, nil)
	s.span.committed(r)
}

func spanned(tracer trace.Tracer, log io.Writer) (*session, batch.Result) {
	w := &shared{worker: "node-1", log: slog.New(slog.NewTextHandler(log, nil)).With("worker", "node-1")}
	if tracer != nil {
		w.spans = &spans{tracer: tracer}
	}
	job := batch.Job{Batch: "b_01k5x8zq3v6t9w2y4a7c1d0efg", Index: 7}
	claimed := statestore.Claimed{Lease: batch.Lease{Job: job, Token: 3, Attempt: 1}}
	return w.newSession(&openBatch{name: "notes"}, claimed, func(error) {}), batch.Result{Status: batch.OK, Turns: 1}
}

func TestSpansCostNothingWhenOff(t *testing.T) {
	s, r := spanned(nil, io.Discard)
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(100, func() { spannedAttempt(ctx, s, r) }))
}

// Two workers without contact make the same trace and root for a job, and a different one for the next job. Only the
// root of the attempt that committed its result is exported.
func TestJobTraceIsDerivedFromItsName(t *testing.T) {
	told := tracetest.NewSpanRecorder()
	provider := func() *sdktrace.TracerProvider {
		return sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(told), sdktrace.WithIDGenerator(tracing.IDs{}))
	}
	first, r := spanned(provider().Tracer("test"), io.Discard)
	_, fenced := first.spans.beginJob(t.Context(), first.batch, first.lease)
	second, _ := spanned(provider().Tracer("test"), io.Discard)
	spannedAttempt(t.Context(), second, r)
	second.lease.Job.Index++
	spannedAttempt(t.Context(), second, r)

	names := map[string]int{}
	var roots []trace.SpanContext
	for _, s := range told.Ended() {
		names[s.Name()]++
		if s.Name() == "job" {
			roots = append(roots, s.SpanContext())
		}
	}
	assert.Equal(t, map[string]int{"job": 2, "invoke_agent notes": 2, "turn": 2}, names)
	assert.Equal(t, fenced.job.SpanContext().TraceID(), roots[0].TraceID())
	assert.Equal(t, fenced.job.SpanContext().SpanID(), roots[0].SpanID())
	assert.NotEqual(t, roots[0].TraceID(), roots[1].TraceID())
}

// An attempt that releases its job is no failure in the trace.
func TestAttemptsWithoutResultRecordTheirOutcome(t *testing.T) {
	for want, causes := range map[string][]error{
		"":          {nil},
		"fenced":    {statestore.ErrFenced},
		"cancelled": {errCancelled},
		"released":  {agent.ErrStopped, errDrained, errBackendAway, statestore.ErrConflict},
		"defect":    {errors.New("other")},
	} {
		for _, cause := range causes {
			assert.Equal(t, want, interrupted(cause), "%v", cause)
		}
	}
}

// BenchmarkSpans measures the cost of the spans of an attempt of one turn, without the export.
func BenchmarkSpans(b *testing.B) {
	on := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(tracing.IDs{})).Tracer("bench")
	for name, tracer := range map[string]trace.Tracer{"off": nil, "on": on} {
		b.Run(name, func(b *testing.B) {
			s, r := spanned(tracer, io.Discard)
			b.ReportAllocs()
			for b.Loop() {
				spannedAttempt(b.Context(), s, r)
			}
		})
	}
}

func TestLogLinesNameTheirAttempt(t *testing.T) {
	var log bytes.Buffer
	s, _ := spanned(nil, &log)
	s.log.Info("x")
	assert.Contains(t, log.String(), "worker=node-1 batch=b_01k5x8zq3v6t9w2y4a7c1d0efg job=b_01k5x8zq3v6t9w2y4a7c1d0efg/job-7 token=3 attempt=1")
}
