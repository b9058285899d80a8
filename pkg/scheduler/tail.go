package scheduler

// Tail describes a batch near its end and the free slots of the workers that run it.
type Tail struct {
	Waiting    int // unclaimed jobs; negative if unknown
	Free       int // slots of this worker beyond one for each live agent
	OthersFree int // the same, over the other workers that claim jobs now
}

// Share returns how many of limit jobs this worker may claim. While more jobs wait than the cluster has free slots, it may
// claim as many as it has room for. When fewer wait, a job that would queue here could start elsewhere at once, so each worker
// claims in proportion to its free slots.
//
// Jobs that the others leave are shared again at the next claim. A worker with a free slot may always claim one job.
func (t Tail) Share(limit int) int {
	if t.Waiting <= 0 { // expired leases may still be claimed
		return limit
	}
	mine, others := max(t.Free, 0), max(t.OthersFree, 0)
	part := 0
	if mine > 0 {
		part = (t.Waiting*mine + mine + others - 1) / (mine + others)
	}
	return min(limit, max(part, t.Waiting-others))
}
