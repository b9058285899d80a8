// Package operation has the operations on batches. They return values and print nothing; notices go to the caller.
//
// Start reading at [Batches].
package operation
