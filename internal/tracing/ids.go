package tracing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"

	"go.opentelemetry.io/otel/trace"

	"github.com/batchagent/batchagent/pkg/batch"
)

type jobKey struct{}

// WithJob makes a span that is started under the context, as the root of a trace, the root of this job's.
func WithJob(ctx context.Context, job batch.Job) context.Context {
	return context.WithValue(ctx, jobKey{}, job)
}

// IDs makes the IDs of spans. It is the generator of the OpenTelemetry SDK.
type IDs struct{}

// NewIDs implements the SDK's IDGenerator. They are the first 24 bytes of SHA-256 over a constant and the job's name.
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
