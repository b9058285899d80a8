// Package worker is the process that runs agents: it claims jobs, keeps their leases, runs them beside one backend and
// commits their results.
//
// # Goroutines
//
// [Worker.Run] owns them all and returns when they have ended:
//
//	watch     asks whether the backend is ready; jobs are claimed only while it is
//	queue     reads the server's own queue while agents live; fresh ones wait while it is full
//	listen    waits at the doorbell for new jobs and cancellations
//	claim     decides how much to claim from which batch, and starts agents
//	agent     one per live job
//	commit    sends results to Redis, many per call
//	heartbeat renews all leases, learns which are fenced or cancelled, and writes the worker's record
//
// # Failure model
//
// A job is in exactly one place: live here with a lease that is being renewed, or not ours. It stays live until its
// result is known to be committed, or the lease is known to be lost. Redis being away stops claims and commits, not
// agents. A worker that dies leaves leases that lapse; whoever claims them goes on from the journal.
//
// Start reading at [Worker.Run], then claim.go.
package worker
