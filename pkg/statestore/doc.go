// Package statestore keeps batches, leases, journals and results in Redis. It is the job log and the lease authority.
//
// It owns the key schema (keys.go) and the Lua scripts (lua/). Every verb that changes a batch is one script, so it
// happens whole or not at all; every verb that a lease holder may use compares the lease's fence before it writes
// (I1). It does not decide retries, priorities or what a job's payload means: payloads, turns and results are bytes.
//
// # Leases
//
// Delivery is a Redis Streams consumer group; the pending entries list judges how long a lease has been idle, by
// Redis' clock. The right to write is not the PEL entry but a fencing token in a hash beside it, because an entry's
// consumer and delivery count can be changed by a process that has lost the job. Tokens are numbered per batch, so
// none is ever used twice, not even by a job that runs again after `retry`. See docs/adr/0002-fencing.md.
//
// # Failure model
//
// A call either succeeds, or fails with an answer of the server, or ends with [ErrUnknownOutcome]: the reply was
// lost and the write may have happened. Every verb but [Store.Claim] may then be repeated as it is; [UntilKnown] does
// so. After an unknown claim, [Store.Held] tells what was leased. The Redis client never retries by itself.
//
// # Goroutines
//
// None. A Store is safe for concurrent use. Blocking reads use connections of their own.
//
// Start reading at [Store.Claim], then lua/claim.lua.
package statestore
