// Package shared lets the tool pools of several processes share executions and rates through Redis. It implements
// [toolpool.Cluster].
//
// # One execution
//
// Per call there is at most one lead: a key with a token and a lease, which Redis' clock alone ends. Whoever asks first
// gets it, renews it while the tool runs, and hands the outcome over in one script that compares the token (I1, I6). The
// others wait. The end of an execution is told to each waiting process through its inbox, one stream per process, so that
// a process needs one connection however many calls it waits for. A note in an inbox is a hint and may be lost: whoever
// waits asks again when the lease ends. If the leader is dead by then, the one that asks first leads.
//
// A result that may be kept is the call's value, until it expires. Everything else, failures and results that only those
// who overlap may have, is kept under the execution's own token for those who wait for that execution: it can neither
// expire before they come nor be taken for a newer one.
//
// # Failure model
//
// Every script may be repeated. A join names its own token, so a join whose reply was lost finds that it has the lead. A
// leader that was stopped for longer than its lease finishes its execution for itself; its outcome is refused if another
// has led since. When Redis does not answer for one lease, calls go on in each process alone ([toolpool.ErrAway]). After
// an outage in which a lease may have lapsed nobody takes a lead for a while, so that living leaders come first.
//
// # Goroutines
//
// A [Sharer] has one that reads the inbox, one that renews leads, and one per outcome on its way; [Sharer.Close] waits
// for all.
//
// Start reading at [Sharer.Join], then lua/join.lua.
package shared
