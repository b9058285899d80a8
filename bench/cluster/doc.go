// Command cluster measures how a batch scales over nodes, and the cost of a killed worker.
//
// It runs the real programs: redis-server with an append-only file, `coordinator submit` and `coordinator results --follow
// --out`. Each node is a worker process with its own vllmsim process. vllmsim simulates the engine of a profile, -time-scale
// times as fast as the real one. The simulated servers should limit the batch, not the processors of this machine. The output
// therefore shows the load of the processors. It marks runs in which they were fully used, even by other programs.
//
//	 submit ─▶ redis-server ◀─▶ worker 1 ─▶ vllmsim 1
//	                │       ◀─▶ worker k ─▶ vllmsim k
//	results ◀───────┘
//
// An agent is like one of examples/code-review: a turn with a call of read_file, and a turn with an answer that follows a schema.
// Many agents read the same document, each with its own question. Every run starts with empty caches, and with idle workers that
// wait for the batch. Arms take turns in every round:
//
//	nodes=k       efficiency is T1/(k·Tk), round by round
//	nodes=k-preload  the documents are preloaded, so that an agent needs one turn
//	nodes=k-kill  the same, but one worker gets SIGKILL after half of the results. The lost time is printed beside its limit:
//	              the lease, and the dead node's share of the remaining work, which the others take over
//
// The wall time of a run lasts from the start of `coordinator submit` to the end of `coordinator results`. Every line of the
// results is counted. The command fails if a result is lost, doubled or failed. It also fails if a tool ran more than once for a
// document although no worker was killed.
package main
