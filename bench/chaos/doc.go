// Command chaos runs a cluster of real processes, breaks them at random, and counts what was lost or doubled.
//
// The cluster is redis-server with an append-only file, two vllmsim, four workers, and for each batch a feeder (`coordinator
// submit`) and a follower (`coordinator results --follow --out`). Each worker reaches Redis and its simulator through a proxy
// of its own (Shopify/toxiproxy). Every 0.5 to 3 s a fault strikes, drawn from the seed:
//
//	kill -9 of a worker, a feeder, a follower, a simulator or Redis, which start again later
//	SIGSTOP of a worker for longer than its lease
//	latency, little bandwidth, a half-open connection or a partition between a worker and Redis, or a worker and its simulator
//	CLIENT KILL, SCRIPT FLUSH, a simulator that answers 503 to most requests
//
// The batches have jobs of one to five turns with a tool call in each turn but the last; they are submitted one after the other
// while faults strike, and feeders have a slow line, so that they can be killed at their work. When the faults have ended every batch
// must end; then Redis and the collected files are compared with the inputs. It exits with 1 if a job has no result, or two,
// anywhere.
//
// Before each simulator stands a counter: a turn is executed twice if a simulator answered it to the end twice, whoever still
// listened. The tool that the agents call notes each execution in a file.
//
// With -rolling there are no faults: the workers are restarted one after the other with SIGTERM, and it exits with 1, too, if a job
// spent an attempt or a turn was executed twice. The throughput before, meanwhile and in the lease after each start is told.
//
// The seed decides which faults strike, and when. It does not decide what the processes do, so a run cannot be replayed to
// the byte; package sim does that.
package main
