// Command tools measures what sharing tool calls saves and costs.
//
//   - documents: 100 agents read the same 10 documents each, in one process and in four. How many of the 1,000 reads are
//     executions?
//   - wake: how long after an execution's end, in one process, those who wait in another have its result.
//   - hit: what a call costs whose result is there, in this process or in Redis, beside one bare GET.
//
// It starts a redis-server, and itself as worker processes; all are ended by their process ID.
//
// Start reading at main.
package main
