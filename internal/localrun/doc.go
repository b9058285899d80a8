// Package localrun runs a batch in this process, with an embedded Redis and workers. The command run and the library use it.
//
// Start reading at [Run].
package localrun
