package worker

import (
	"bytes"
	"context"
	"errors"
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
func spannedAttempt(ctx context.Context, w *Worker, a *attempt, r batch.Result) {
	ctx, a.spans = w.spans.begin(ctx, a.work, a.lease)
	ctx = a.spans.run(ctx, w, a, 0)
	if turn := a.spans.onTurn(); turn != nil {
		_, ended := turn(ctx, 1)
		ended(nil)
	}
	a.spans.ran(r, nil)
	a.spans.committed(r)
}

func spanned(tracer trace.Tracer) (*Worker, *attempt, batch.Result) {
	w := &Worker{cfg: Config{ID: "node-1"}}
	if tracer != nil {
		w.spans = &spans{tracer}
	}
	job := batch.Job{Batch: "b_01k5x8zq3v6t9w2y4a7c1d0efg", Index: 7}
	return w, &attempt{work: &work{name: "notes"}, lease: batch.Lease{Job: job, Token: 3, Attempt: 1}}, batch.Result{Status: batch.OK, Turns: 1}
}

func TestSpansCostNothingWhenOff(t *testing.T) {
	w, a, r := spanned(nil)
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(100, func() { spannedAttempt(ctx, w, a, r) }))
}

// Two workers without contact make the same trace and root for a job, and a different one for the next job. Only the
// root of the attempt that committed its result is exported.
func TestJobTraceIsDerivedFromItsName(t *testing.T) {
	told := tracetest.NewSpanRecorder()
	provider := func() *sdktrace.TracerProvider {
		return sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(told), sdktrace.WithIDGenerator(tracing.IDs{}))
	}
	w, a, r := spanned(provider().Tracer("test"))
	_, fenced := w.spans.begin(t.Context(), a.work, a.lease)
	w2, a2, _ := spanned(provider().Tracer("test"))
	spannedAttempt(t.Context(), w2, a2, r)
	a2.lease.Job.Index++
	spannedAttempt(t.Context(), w2, a2, r)

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
			w, a, r := spanned(tracer)
			b.ReportAllocs()
			for b.Loop() {
				spannedAttempt(b.Context(), w, a, r)
			}
		})
	}
}

func TestLogLinesNameTheirAttempt(t *testing.T) {
	var said bytes.Buffer
	w, a, _ := spanned(nil)
	w.log = slog.New(slog.NewTextHandler(&said, nil)).With("worker", "node-1")
	w.logOf(a.lease).Info("x")
	assert.Contains(t, said.String(), "worker=node-1 batch=b_01k5x8zq3v6t9w2y4a7c1d0efg job=b_01k5x8zq3v6t9w2y4a7c1d0efg/job-7 token=3 attempt=1")
}
