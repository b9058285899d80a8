// Package builtin holds the tools that every worker can offer.
//
// Each constructor returns a [toolpool.Tool]; registering it is the worker's decision. A tool here reads only what its
// operator opened for it, whatever a model asks: files below one root ([ReadFile], [ListFiles], [GrepFiles]), public
// addresses ([HTTPGet]), one search service ([WebSearch]), and a calculator in a process of its own ([PythonEval]). The
// package keeps no state and starts no goroutine that outlives a call.
//
// Start reading at [ReadFile].
package builtin
