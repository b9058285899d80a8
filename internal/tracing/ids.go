package tracing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"

	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/pkg/batch"
)

type jobKey struct{}

// WithJob returns a context for the root span of a job. A span that is started with it as the root of a trace gets the job's IDs.
func WithJob(ctx context.Context, job batch.Job) context.Context {
	return context.WithValue(ctx, jobKey{}, job)
}

// IDs generates the IDs of spans for the OpenTelemetry SDK.
type IDs struct{}

// NewIDs implements the SDK's IDGenerator. The IDs are the first 24 bytes of a SHA-256 over a constant and the job's name.
func (IDs) NewIDs(ctx context.Context) (t trace.TraceID, s trace.SpanID) {
	if job, ok := ctx.Value(jobKey{}).(batch.Job); ok {
		sum := sha256.Sum256([]byte("batchagent trace " + job.String()))
		copy(t[:], sum[:16])
		copy(s[:], sum[16:24])
		return t, s
	}
	_, _ = rand.Read(t[:])
	return t, IDs{}.NewSpanID(ctx, t)
}

// NewSpanID implements the SDK's IDGenerator.
func (IDs) NewSpanID(context.Context, trace.TraceID) (s trace.SpanID) {
	_, _ = rand.Read(s[:])
	return s
}
