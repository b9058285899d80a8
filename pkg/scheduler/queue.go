package scheduler

import "time"

// rank orders waiters: the lowest goes first. arrived is when the wait began, from any common origin.
//
// A waiter's urgency at time t is turnsRemaining - (t - arrived)/AgeingStep. All waiters age at the same pace, so t
// cancels out of every comparison: turnsRemaining*AgeingStep + arrived orders them equally, for ever. That is why a
// heap stays right although the waiters grow older in it.
func rank(turnsRemaining int, arrived time.Duration) time.Duration {
	return time.Duration(min(max(turnsRemaining, 0), maxTurnsRemaining))*AgeingStep + arrived
}

type waiter struct {
	rank    time.Duration
	arrival uint64 // breaks ties of rank: the order in which waiters came
	index   int    // place in the heap; -1 once it left
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
