// Package tracing sends the spans of jobs to an OpenTelemetry collector, as the standard variables say.
//
// It owns the exporter and the IDs: those of a job's trace and of the span at its root follow from the batch's ID and the
// job's index, so that attempts on several workers are in one trace without telling each other. Which spans there are is
// the business of internal/worker. Everything is safe for concurrent use; one goroutine sends, and what it cannot send in
// time is dropped.
//
// Start reading at [Start].
package tracing
