// Command cluster shows how a batch scales over nodes, and what the death of one costs.
//
// It runs the real programs: redis-server with an append-only file, `coordinator submit` and `coordinator results --follow
// --out`, and on every node a worker process beside a vllmsim process of its own. vllmsim simulates the engine of a profile,
// -time-scale times as fast as it is, so that the simulated servers are what bounds the batch and not the processors of this
// machine. How busy those were is printed; a run in which they were full, be it of other programs, says so.
//
//	 submit ─▶ redis-server ◀─▶ worker 1 ─▶ vllmsim 1
//	                │       ◀─▶ worker k ─▶ vllmsim k
//	results ◀───────┘
//
// An agent is one of examples/code-review: a turn that asks for read_file, and a turn that answers by a schema. Many agents
// read the same document, each with a question of its own. Every run starts with empty caches, and the workers wait for the
// batch, idle and ready. Arms take turns in every round:
//
//	nodes=k       efficiency is T1/(k·Tk), round by round
//	nodes=k-kill  the same, and when half of the results are in, one worker gets SIGKILL. The time lost is beside what it may
//	              be: the lease, and the dead node's share of what was left, which the others have to do
//
// The wall time of a run begins with the start of `coordinator submit` and ends with the end of `coordinator results`.
// Every line of the results is counted. The command fails if one is lost, doubled or failed, or if a tool ran more than once
// for a document while nobody died.
package main
