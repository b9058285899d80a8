// Package worker runs agents: it claims jobs, renews their leases, runs their agents against one backend and commits
// their results.
//
// # Goroutines
//
// [Worker.Run] owns all goroutines and returns when they have ended:
//
//	watch     checks whether the backend is ready; jobs are claimed only while it is
//	queue     reads the server's own queue while agents live; no agents start while it is full
//	listen    waits at the doorbell for new jobs and cancellations
//	claim     decides how much to claim from which batch, and starts agents
//	agent     one per live job
//	commit    sends results to Redis, many per call
//	heartbeat renews all leases, stops fenced and cancelled agents, and writes the worker's record
//
// # Failure model
//
// A job is either live on this worker with a renewed lease, or not this worker's. It stays live until its result is
// committed or its lease is lost. An outage of Redis stops claims and commits, but not agents. The leases of a dead
// worker expire. The worker that claims a job next resumes it from the journal.
//
// Start reading at [Worker.Run], then claim.go.
package worker
