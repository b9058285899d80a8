// Package sim plays whole batches in virtual time, with everything going wrong, and can play each of them again.
//
// A run is made from one seed: how many workers and jobs there are, how long a lease is, what fails when. The store, its Lua
// scripts and, in [Full] mode, the workers with their agents, slots and tools are the real ones; Redis is miniredis. All of it
// lives in one testing/synctest bubble. In [Plain] mode small workers call the store themselves, which takes more roads through
// it per second.
//
// # How it is repeatable
//
// Every byte between a process and Redis passes a network of ours. It lets one thing happen at a time, waits until the whole
// bubble is at rest, checks, and only then takes the next. Every random decision is drawn from the seed and from what it is
// about, never from who asks first ([chance]). Two runs of a seed have the same trace to the byte; [TestSeeds] compares.
//
// # What goes wrong
//
// Requests that are lost, replies that are lost though Redis did it, commands that are held up, connections that break, processes
// that die between any two commands or stand still for longer than a lease, a Redis that restarts and forgets its scripts; users
// who cancel and retry; drains; in full mode also model servers that answer 429, 503 or 500, cut their stream, fall silent or
// restart, and tools that hang or fail.
//
// In three runs of ten Redis starts again, once or twice, without up to 3 s of what it had acknowledged, as after a loss of power
// or a failover; the books forget the same ([books]). The results are then collected by the code of `results --follow --out`,
// which must bring each job into its file once ([collector]).
//
// The bubble has one clock. Redis' is up to two hours off from it. What a process reads of its own clock reaches no script, which
// TestWallClock of the module's root holds the code to; so a process's clock, up to five minutes off, is only seen by the mutants
// that use it ([world.clock]).
//
// In four full runs of ten all model servers refuse every call for a while, with errors that a bad request may get, too. No job may end as
// BackendRejected. [Judges] are judges of failed calls that are broken on purpose; each must be caught.
//
// In a third of the runs the results are reduced. What a reduction says names each job and how it ended, so that one that saw too
// little, or results that were taken back since, is found ([checker.summary]). It must be queued, taken back or ended in the step that
// ends the batch ([checker.bystander]). The same code collects the results, and is killed now and then; the last summary that it
// prints must be that of the results in its file.
//
// Not played: batches that are planned, and reductions of more than one call. The tables of pkg/statestore, pkg/agent and
// internal/worker and the processes of internal/e2e do that.
//
// # What is checked
//
// After every script: the invariants I1 to I5 and I7 of package batch, by comparing Redis before and after with books of our own
// ([checker]). In full mode, at every rest: I6 and I8, and what workers do with what they are told ([conduct]). After the run:
// every batch has ended, and there is an order of the operations on each job that explains what all callers were told
// ([history], with porcupine). [Mutants] are scripts that are broken on purpose; each must be caught.
//
// Start reading at [Run].
package sim
