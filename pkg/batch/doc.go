// Package batch defines batchagent's terms as types, and the state machine of a job.
//
// A Batch is one submission: a plan plus its inputs. A Job is one input of a batch, and so one agent to run. A Lease is a
// worker's right to run a job; Redis ends it unless the worker renews it. An Attempt is one lease of a job by one worker. A
// Turn is one model call plus the tool calls that it requested. A Result is the one committed outcome of a job. A Stage of a
// batch is a batch of one job that plans its jobs or reduces its results.
//
// The package is pure: it imports the standard library only, starts no goroutine and does no I/O. Every other package of the
// module may import it. The JSON forms of [Result], [Error] and [Usage] are a contract with users and scripts. Fields may be
// added. The meaning of a field never changes.
//
// # Invariants
//
// Code and tests cite these by number.
//
//	I1  no write with a stale token
//	I2  exactly one result per job of a sealed batch, for any schedule of crashes, pauses, lost replies and restarts
//	I3  the turns in a journal are contiguous, each once
//	I4  no job is lost: after faults stop, every batch ends
//	I5  attempts never exceed the limit; a release costs none
//	I6  one execution per tool key and sharing window, cluster-wide
//	I7  every queue, cache and buffer has a limit
//	I8  a slot is never held outside a model call
//	I9  secrets never reach Redis, logs, metrics or results
//	I10 a result belongs to the question it answers: the hash of the job's question is the one in its result
//	I11 untrusted input (a model's output, a spec, a web page) costs bounded time and memory
//	I12 a batch spends at most its budget plus the calls in flight
//
// Start reading at [Next].
package batch
