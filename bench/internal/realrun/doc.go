// Package realrun runs one batch on a server through a whole worker: spec, statestore, scheduler, agents, tools. The store is an
// embedded Redis in this process. The server is at a URL and needs no support for measurements.
//
// The model's text has no influence on the run. A script decides the tool calls and their arguments, because small models do not
// follow instructions reliably; the text and tokens of each call are real. All servers and models therefore do the same work.
//
// A [Run] owns its worker and its store during [Run.Do]. Runs on one server must not overlap.
package realrun
