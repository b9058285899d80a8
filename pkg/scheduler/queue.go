package scheduler

import "time"

// rank orders waiters: the lowest goes first. arrived is when the wait began, from any common origin.
//
// A waiter's urgency at time t is turnsRemaining - (t - arrived)/AgeingStep. All waiters age at the same pace, so t cancels out
// of every comparison: turnsRemaining*AgeingStep + arrived gives the same order at all times. The heap therefore stays valid
// while its waiters age.
func rank(turnsRemaining int, arrived time.Duration) time.Duration {
	return time.Duration(min(max(turnsRemaining, 0), maxTurnsRemaining))*AgeingStep + arrived
}

type waiter struct {
	rank    time.Duration
	arrival uint64 // order of arrival; breaks ties of rank
	index   int    // position in the heap; -1 after leaving it
	granted chan struct{}
}

// waitQueue is a heap (container/heap) of waiters, the next one to serve at its root.
type waitQueue []*waiter

func (q waitQueue) Len() int { return len(q) }

func (q waitQueue) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].arrival < q[j].arrival
}

func (q waitQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *waitQueue) Push(x any) {
	w := x.(*waiter)
	w.index = len(*q)
	*q = append(*q, w)
}

func (q *waitQueue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}
