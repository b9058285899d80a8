package scheduler

// DefaultMaxBatch is how many jobs one claim asks for at most.
const DefaultMaxBatch = 64

// Snapshot is what a worker knows of itself when it decides how many jobs to claim.
type Snapshot struct {
	Ready      bool // the backend answers
	Draining   bool // the worker is to take no more work
	MaxAgents  int  // agents that may be alive at once, those waiting for tools included
	LiveAgents int  // agents alive now
	Slots      int  // capacity of [Slots]
	SlotQueue  int  // agents waiting for a slot
	MaxBatch   int  // jobs per claim. Defaults to DefaultMaxBatch.
	Server     ServerQueue
}

// ClaimSize is how many jobs to ask for now; 0 means none.
//
// A job is claimed only if it can be admitted at once: a job that waits here is a job that no other worker can take.
// An agent is admitted while fewer than MaxAgents live, and while the queue for slots is shorter than the number of
// slots. That much queue keeps every slot busy when all calls of a wave end together; more of it would only be a wait
// that another worker might not have. While the server's own queue is [ServerQueue.Full] nothing fresh starts.
//
// [Ledger.Room] is one more bound on the same number, where the server tells the size of its KV cache.
func ClaimSize(s Snapshot) int {
	if !s.Ready || s.Draining {
		return 0
	}
	batch := s.MaxBatch
	if batch <= 0 {
		batch = DefaultMaxBatch
	}
	return s.Server.Fresh(s.LiveAgents, max(0, min(s.MaxAgents-s.LiveAgents, s.Slots-s.SlotQueue, batch)))
}
