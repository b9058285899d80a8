// Command scale shows what a batch costs in memory, by its size.
//
// It runs the real programs: redis-server with an append-only file, vllmsim without latencies, workers, `coordinator
// submit` and `coordinator results --follow`. Inputs are a JSON Lines file of about 200 bytes a line; a job is one turn. A
// round of one size goes
//
//	submit (no worker runs) ─▶ memory of Redis and of the coordinator
//	start workers and a follower ─▶ the batch is done ─▶ peak memory of each, memory of Redis
//	rm ─▶ memory of Redis
//
// Peak resident memory must not grow with the number of jobs. Redis must: the inputs wait there, and then the results.
package main
