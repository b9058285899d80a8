// Command kv compares ways to admit agents to one server, in virtual time.
//
// The server is package vllmsim/batching: continuous batching, a paged KV cache, prefix caching, preemption. Every arm gets the
// same agents, drawn from a seed, and the same engine. Arms:
//
//	unlimited      all agents live at once
//	fixed N        at most N live, swept; the best of them is what a user finds by trying
//	pause-by-size  each agent counts in full, prefix included; every 5 s agents that wait for a tool pause, smallest first, while
//	               the sum exceeds the cache, and the largest that fits comes back first (after ThunderAgent, arXiv 2602.13692)
//	ours           scheduler.Ledger as the worker uses it, told the size of the cache and nothing else
//	ours, seed first   the rest wait for the first answer, also on an engine that needs no seed
//	ours, never leave  agents keep their part of the cache however long their tool takes
//	ours, tools of one name   all tools have one name, so that nobody knows beforehand which call is slow
//	ours, no …     the same with one part off; "told 1.3" is told a size that is wrong
//
// Workloads: a is one turn behind a shared prefix, a-late the same on an engine that knows a prefix only once an answer to it has
// begun, b two turns with a tool, c agents of 8 to 12 turns that grow to 20,000 tokens
// beside tools that take half a second or five, d what was measured on a real vLLM on two CPU cores, e is c with tools of
// one to three minutes, one call in eight. c-big is c on a machine with
// a large cache (assumed figures for a 7B model on an H100, not calibrated).
//
// With -backend the workload d runs on a real server, through a whole worker with an embedded Redis: unlimited, a few fixed
// numbers, and ours, which is told nothing but what the server's metrics say. The server's answers decide nothing: a script says
// which turn calls a tool.
//
// In virtual time only the policy is ours to measure here; the worker around it is tested in internal/worker.
package main
