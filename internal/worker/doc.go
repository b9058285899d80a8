// Package worker runs agents: it claims jobs, renews their leases, runs their agents against one backend and commits
// their results.
//
// # The way of a job
//
//	claimer.claimJobs     decides how many jobs to claim from which batch            claim.go, alone.go, tail.go
//	claimer.admit         makes one session per job
//	session.attempt       runs the agent                                             attempt.go
//	  session.Reserve     waits for the model, and for room in the batch's budget    budget.go, account.go
//	  session.Acquire     waits for the model, for the KV cache and for a slot       session.go
//	  session.Generate    makes a model call; lists all its steps                    session.go
//	    health.admit      asks the breaker                                           permit.go, health.go
//	    modelServer.send  calls the backend                                          modelserver.go
//	  session.Call        runs a tool call                                           session.go
//	  session.Append      writes a turn to the journal                               journal.go
//	session.hand          hands the result to the committer, or releases the lease
//	committer.commitAll   commits results                                            commit.go
//	session.ended         ends the session
//
// A [session] is one attempt at a job and all that its agent uses. What sessions share is in [shared].
//
// # Goroutines
//
// [Worker.Run] owns all goroutines and returns when they have ended:
//
//	readiness    checks whether the backend is ready; jobs are claimed only while it is
//	modelServer  reads the server's own queue while agents live; no agents start while it is full
//	doorbell     waits for new jobs and cancellations
//	claimer      decides how much to claim from which batch, and starts agents
//	session      one per live job
//	account      one per batch with a budget while requests wait: reserves and settles model calls
//	journals     one per batch while turns wait: appends turns to journals, many per call
//	committer    sends results to Redis, many per call
//	heartbeat    renews all leases, stops fenced and cancelled agents, and writes the worker's record
//
// # Failure model
//
// A job is either live on this worker with a renewed lease, or not this worker's. It stays live until its result is
// committed or its lease is lost. An outage of Redis stops claims and commits, but not agents. The leases of a dead
// worker expire. The worker that claims a job next resumes it from the journal.
//
// Start reading at [Worker.Run], then claim.go, attempt.go and session.go.
package worker
