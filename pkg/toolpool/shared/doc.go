// Package shared lets the tool pools of several processes share executions and rates through Redis. It implements
// [toolpool.Cluster].
//
// # One execution
//
// Each call has at most one lead: a key with a token and a lease. Only Redis' clock ends the lease. The first process
// that asks takes the lead, renews it while the tool runs, and publishes the outcome in one script that compares the
// token (I1, I6). The other processes wait. The end of an execution is announced through inboxes, one stream per
// process, so that a process needs one connection for any number of waiting calls. A note in an inbox is a hint and
// may be lost: each waiting process asks again when the lease ends. If the leader is dead by then, the first process
// that asks takes the lead.
//
// A result that may be kept becomes the call's value until it expires. All other outcomes are stored under the
// execution's own token, for the processes that wait for that execution. These are failures, and results that only
// overlapping callers may share. Such an outcome cannot expire before the processes read it, and no process mistakes
// it for a newer one.
//
// # Failure model
//
// Every script is safe to repeat. A join sends its own token, so a join with a lost reply finds that it has the lead.
// A leader that was stopped for longer than its lease finishes the execution for its own callers; its outcome is
// refused if another process has led since. If Redis does not answer for one lease, each process runs calls by itself
// ([toolpool.ErrAway]). After an outage in which a lease may have expired, no process takes a lead for a while, so
// that living leaders can renew first.
//
// # Goroutines
//
// A [Sharer] has one goroutine that reads the inbox, one that renews leads, and one per outcome being published.
// [Sharer.Close] waits for all of them.
//
// Start reading at [Sharer.Join], then lua/join.lua.
package shared
