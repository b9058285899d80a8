// Package collect copies the results of a batch to a sink: a file, a writer or a function.
//
// Start reading at [Copy].
package collect
