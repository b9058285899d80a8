// Package earlier reads the results of earlier batches and runs: as inputs, for reuse, and to resume a run.
//
// Start reading at [Inputs].
package earlier
