// Command tools measures the savings and the cost of shared tool calls.
//
//   - documents: 100 agents read the same 10 documents each, in one process and in four. It counts how many of the 1,000 reads
//     are executions.
//   - wake: the delay between the end of an execution in one process and its result in waiting processes.
//   - hit: the cost of a call whose result is available in this process or in Redis, compared with one bare GET.
//
// It starts a redis-server, and itself as worker processes. It ends all of them by their process ID.
//
// Start reading at main.
package main
