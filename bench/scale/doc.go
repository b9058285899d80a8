// Command scale measures the memory that a batch needs, by its size.
//
// It runs the real programs: redis-server with an append-only file, vllmsim without latencies, workers, `coordinator submit` and
// `coordinator results --follow`. Inputs are a JSON Lines file with about 200 bytes per line; a job is one turn. A round of one
// size is
//
//	submit (no worker runs) ─▶ memory of Redis and of the coordinator
//	start workers and a follower ─▶ the batch is done ─▶ peak memory of each, memory of Redis
//	rm ─▶ memory of Redis
//
// The peak resident memory of the programs must not grow with the number of jobs. That of Redis must: it stores the inputs, and
// then the results.
package main
