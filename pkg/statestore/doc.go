// Package statestore keeps batches, leases, journals and results in Redis. It is the job log and the lease authority.
//
// It owns the key schema (keys.go) and the Lua scripts (lua/). Every method that changes a batch is one script, so the change
// is atomic. Every method that writes under a lease compares the lease's fence before it writes (I1). The package does not
// decide retries or priorities, and does not interpret payloads, turns and results: they are bytes.
//
// # Leases
//
// Delivery uses a Redis Streams consumer group. Its pending entries list (PEL) measures how long a lease has been idle, by
// Redis' clock. The right to write is not the PEL entry but a fencing token in a hash beside it, because a process that has
// lost the job can still change an entry's consumer and delivery count. Tokens are numbered per batch, so no token is used
// twice, not even by a job that runs again after `retry`. See docs/adr/0002-fencing.md.
//
// # Failure model
//
// A call succeeds, or fails with an answer of the server, or ends with [ErrUnknownOutcome]: the reply was lost and the write
// may have happened. A method marked "Repeatable" can then be called again with the same arguments; [UntilKnown] does so. The
// only other one is [Store.Claim]: after an unknown claim, [Store.Held] lists the leases. The Redis client never retries by
// itself.
//
// # Goroutines
//
// None. A Store is safe for concurrent use. Blocking reads use connections of their own.
//
// Start reading at [Store.Claim], then lua/claim.lua.
package statestore
