package scheduler

// Tail is what is known of a batch near its end, and of the workers that run it.
type Tail struct {
	Waiting    int // jobs that nobody has claimed; negative if that is not known
	Free       int // slots of this worker beyond one for each live agent
	OthersFree int // the same, of the other workers that take jobs now
}

// Share is how many of limit jobs this worker may claim. While more jobs wait than the cluster has free slots it may claim all that it
// has room for. When fewer do, a job that would queue here could start elsewhere at once, so each worker takes its part by free slots.
//
// What others do not take is not lost: it is shared anew at the next claim. A worker with a free slot may always claim one job.
func (t Tail) Share(limit int) int {
	if t.Waiting <= 0 { // lapsed leases, perhaps
		return limit
	}
	mine, others := max(t.Free, 0), max(t.OthersFree, 0)
	part := 0
	if mine > 0 {
		part = (t.Waiting*mine + mine + others - 1) / (mine + others)
	}
	return min(limit, max(part, t.Waiting-others))
}
