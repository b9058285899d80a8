// Command fair runs the comparison of the seed's Table 1 again: every agent makes a model call of 60 ms, one tool call
// of 200 ms and a second model call, and every 50th forward pass of a simulator fails once. Nothing is faster than
// 0.32 s, or 0.38 s with one pass made again.
//
// One op is one batch of N jobs. Its time goes from loading the spec to reading the last committed result, with all
// processes up before. The arms, on the same simulators in the same run:
//
//	cluster  worker processes (4) on a redis-server, one simulator each
//	single   one worker in one process with embedded Redis, as `coordinator run` has it
//	gather   no engine: one goroutine per agent, as many as there are, no checkpoint, no shared calls; an agent that
//	         fails starts once more from its first turn
//
// The worker is internal/worker with one more tool, the slow one; everything else is what cmd/worker runs. Start
// reading at main; ../README.md says how to read the output.
package main
