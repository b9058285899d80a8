// Package builtin holds the tools that every worker can offer.
//
// Each constructor returns a [toolpool.Tool]; the worker decides whether to register it. A tool reads only the
// resources that its operator opened for it: files below one root ([ReadFile], [ListFiles], [GrepFiles]), public
// addresses ([HTTPGet]), one search service ([WebSearch]), and a calculator in its own process ([PythonEval]). The
// package keeps no state and starts no goroutine that outlives a call.
//
// Start reading at [ReadFile].
package builtin
