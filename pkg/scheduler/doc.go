// Package scheduler decides which work may start now on one worker.
//
// [FairShare] picks the next batch to claim from. [Ledger] decides how many agents fit into the server's KV cache, and which of
// them wait when they outgrow it. [Slots] picks the agent that makes the next model call: it is a priority semaphore whose
// capacity can change at run time. [ClaimSize] decides how many jobs the worker claims from Redis. Jobs that do not fit stay in
// Redis, where any other worker can take them. No component places jobs across the cluster: workers pull.
//
// The package starts no goroutine and does no I/O. [Slots] is safe for concurrent use. The releaser of a slot hands it straight
// to the next waiter, so no wake-up is lost and no late-comer overtakes. A waiter leaves the queue at once when its context ends.
//
// A slot covers one model call and nothing else (I8). Callers must keep to that; see package agent.
//
// Start reading at [Slots.Acquire].
package scheduler
