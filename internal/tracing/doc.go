// Package tracing sends the spans of jobs to an OpenTelemetry collector. The standard OTEL_* variables configure it.
//
// It owns the exporter and the IDs. The IDs of a job's trace and of its root span are derived from the batch's ID and the job's
// index. Attempts on several workers are therefore in one trace without any communication. internal/worker decides which spans
// exist. Everything is safe for concurrent use. One goroutine sends; spans that it cannot send in time are dropped.
//
// Start reading at [Start].
package tracing
