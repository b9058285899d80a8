// Package realrun runs one batch on a server, through everything a worker is: spec, statestore, scheduler, agents, tools. The
// store is an embedded Redis in this process; the server is at a URL and need not know that it is measured.
//
// What the model writes decides nothing. A script says which turns call a tool and with what, because small models do not
// keep to any instruction; each call's own text and tokens are real. So all servers and all models do the same work.
//
// A [Run] owns its worker and its store from start to end of [Run.Do]. Runs on one server are to follow one another.
package realrun
