// Package builtin holds the tools that every worker can offer.
//
// Each constructor returns a [toolpool.Tool]; registering it is the worker's decision. A tool here reads only what its
// operator opened for it, whatever a model asks. The package keeps no state and starts no goroutine.
//
// Start reading at [ReadFile].
package builtin
