// Command kv compares policies that admit agents to one server, in virtual time.
//
// The server is package vllmsim/batching: continuous batching, a paged KV cache, prefix caching, preemption. Every arm gets the
// same agents, drawn from a seed, and the same engine. Arms:
//
//	unlimited      all agents live at once
//	fixed N        at most N live, for several N; the best N is what a user finds by trying
//	pause-by-size  each agent counts in full, including the prefix; every 5 s, while the sum exceeds the cache, agents that wait for
//	               a tool pause, smallest first, and the largest that fits resumes first (after ThunderAgent, arXiv 2602.13692)
//	ours           scheduler.Ledger as the worker uses it; it gets only the size of the cache
//	ours, seed first   the rest wait for the first answer, even on an engine that needs no seed
//	ours, never leave  agents keep their part of the cache during long tool calls
//	ours, tools of one name   all tools have one name, so quick and slow calls look alike at their start
//	ours, no …     the same with one part switched off; "told 1.3" gets a wrong size
//
//	no eviction    all agents live at once, and the cache never evicts: the upper limit of which each arm gets a share
//	CONCUR         the number of active agents as a congestion window over the use of the cache and its hit rate (arXiv 2601.22705)
//	prime-rl       its limit of live agents: growth by turnover, cut after a preemption, the youngest cancelled over a hard limit
//	CacheTTL       conversations stay pinned for a time while a tool runs, the oldest first (Continuum, arXiv 2511.02230)
//
// The three last have several arms with other parameters, of which the best counts.
//
// Workloads: a is one turn with a shared prefix. a-late is a on an engine that can reuse a prefix only after its first answer has
// begun. b is two turns with a tool. c is agents of 8 to 12 turns that grow to 20,000 tokens, with tools that take half a second
// or five. d was measured on a real vLLM on two CPU cores; d-long has longer contexts and shorter tools there. e is c with one call
// in eight that takes one to three minutes. f is eight questions about each of 100 documents, ordered by document; f-input is the same
// in random order. g is c on a server that another client uses for two of every four minutes, with half of the cache. h is c on a
// server with a second tier of cache. i has the shape of the sweep published for ThunderAgent on verl: 512 agents at a time, of which
// 256 fit. j is questions about sections of long documents: three levels of shared texts. c-big and e-big are c and e on a machine with a large cache (assumed figures for a 7B model on an H100, not calibrated).
//
// With -backend the workload d or d-long runs on a real server, through a whole worker with an embedded Redis: unlimited, a few fixed
// numbers, and ours, which uses only the server's metrics. The server's answers have no influence: a script decides which turn
// calls a tool.
//
// In virtual time only the policy is measured; internal/worker tests the worker around it.
package main
