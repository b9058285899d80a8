// Package scheduler decides, on one worker, what may start now.
//
// It owns these decisions. [FairShare] says which batch is served next, [Ledger] how many agents fit into the server's KV cache,
// and who waits when growth overruns it. [Slots] says which agent makes the next model call: a priority semaphore whose capacity can
// change at run time. [ClaimSize] says how many jobs the worker should ask Redis for. What does not fit stays in
// Redis, where any other worker can take it. Placement over the cluster is nobody's job: workers pull.
//
// The package starts no goroutine and does no I/O. [Slots] is safe for concurrent use; a slot is handed straight to
// the next waiter by whoever gives it back, so no wake-up can be lost and no late-comer can overtake. A waiter whose
// context ends leaves the queue at once.
//
// A slot covers one model call and nothing else (I8). Callers hold to that; see package agent.
//
// Start reading at [Slots.Acquire].
package scheduler
