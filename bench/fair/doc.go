// Command fair repeats the comparison of the seed's Table 1. Every agent makes a model call of 60 ms, one tool call of 200 ms and
// a second model call. Every 50th forward pass of a simulator fails once. The minimum is 0.32 s, or 0.38 s with one repeated
// pass.
//
// One op is one batch of N jobs. Its time lasts from loading the spec to reading the last committed result. All processes run
// before. The arms use the same simulators in the same run:
//
//	cluster  worker processes (4) on a redis-server, one simulator each
//	single   one worker in one process with embedded Redis, like `coordinator run`
//	gather   no engine: one goroutine per agent, without a limit, checkpoints or shared calls; an agent that fails
//	         restarts once from its first turn
//
// The worker is internal/worker with one additional slow tool. Everything else is the same as in cmd/worker. Start reading at
// main; ../README.md explains the output.
package main
