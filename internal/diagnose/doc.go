// Package diagnose finds out what limits a batch or is broken, and returns it.
//
// Start reading at [Explain].
package diagnose
