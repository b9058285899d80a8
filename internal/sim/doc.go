// Package sim simulates whole batches under faults in virtual time. Each run is reproducible from its seed.
//
// The seed determines the whole run: workers, jobs, lease length and faults. The store and its Lua scripts are real. In [Full]
// mode the workers are real too, with their agents, slots and tools. Redis is miniredis. Everything runs in one testing/synctest
// bubble. In [Plain] mode small workers call the store themselves, which covers more paths through it per second.
//
// # How a run is reproduced
//
// A simulated network carries every byte between a process and Redis. It delivers one event, waits until the whole bubble is at
// rest, checks, and only then delivers the next. Every random decision depends on the seed and on its subject, never on the order
// of the callers ([chance]). Two runs of a seed have identical traces, which [TestSeeds] compares.
//
// # Faults
//
// Network: requests are lost, replies are lost after Redis executed the request, commands are delayed, connections break.
// Processes die between any two commands or pause for longer than a lease. Redis restarts and loses its scripts. Users cancel and
// retry; workers drain. In full mode, model servers also answer 429, 503 or 500, cut their stream, hang or restart, and tools
// hang or fail.
//
// In three runs of ten, Redis restarts once or twice and loses up to 3 s of acknowledged writes. A power loss or a failover has
// the same effect. The books are reset to the same instant ([books]). The code of `results --follow --out` collects the results
// in these runs. It must write each job to its file once ([collector]).
//
// The bubble has one clock. The clock of Redis is up to two hours off. No script uses a time that a process read, which
// TestWallClock in the module's root enforces. Only some mutants therefore use a process's clock, which is up to five minutes off
// ([world.clock]).
//
// In four full runs of ten, all model servers refuse every call for a while. A single bad request may get the same errors. No job
// may end as BackendRejected. [Judges] are deliberately broken judges of failed calls; the simulation must catch each.
//
// In three full runs of ten, a program is the agent of the jobs ([simPrograms]). It makes calls in parallel, reads answers while they arrive,
// is killed now and then, and calls once more when the engine ends it. The model answers each call differently. So the program sees an
// answer to another call, a lost answer ([world.witness]), and an answer after the end of its attempt.
//
// In a third of the runs the results are reduced. The output of a reduction names each job and its status. The checks therefore
// detect missing results, and results that a retry has removed since ([checker.summary]). The script that ends the batch must
// also queue, reset or end the reduction ([checker.bystander]). The same code collects the results and is killed now and then.
// Its last summary must match the results in its file.
//
// Not simulated: planned batches, and reductions with more than one call. The table tests of pkg/statestore, pkg/agent and
// internal/worker cover them, and so do the processes of internal/e2e.
//
// # Checks
//
// After every script: invariants I1 to I5, I7, I10 and I12 of package batch, by comparing Redis before and after with our own
// books ([checker]). In full mode, at every rest: I6 to I8, and how workers react to answers ([conduct]): no worker calls the model after an answer reported the lease as lost. After the run: every
// batch has ended, and the operations on each job have an order that explains all answers ([history], with porcupine). [Mutants]
// are deliberately broken scripts, and [GoMutants] broken code of the calls of programs; the simulation must catch each.
//
// Start reading at [Run].
package sim
