// Package sim plays a cluster in one process and in virtual time: the real store and its scripts on an embedded Redis, with a feeder,
// workers, users and a follower, under faults that are drawn from a seed. A seed plays the same run each time.
//
// It is for tests. What must hold is checked after every command that Redis executes, and again at the end; mutants, scripts
// that are wrong on purpose, must be caught.
//
// Start reading at [Run], then [Draw].
package sim
