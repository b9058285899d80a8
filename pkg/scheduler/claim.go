package scheduler

// Snapshot is the state of a worker when it decides how many jobs to claim.
type Snapshot struct {
	Ready      bool        // the backend answers
	MaxAgents  int         // limit of live agents, including those that wait for tools
	LiveAgents int         // agents alive now
	Slots      int         // capacity of [Slots]
	SlotQueue  int         // agents waiting for a slot
	MaxBatch   int         // limit of jobs per claim.
	Server     ServerQueue // last reading of the server's own queue
}

// ClaimSize returns how many jobs to claim now; 0 is none.
//
// A worker claims a job only if it can admit the job at once, because no other worker can take a claimed job. It admits an
// agent while fewer than MaxAgents live, and while the queue for slots is shorter than the number of slots. A queue of that
// length keeps every slot busy when all calls of a wave end together. A longer one would only add waiting that another worker
// might not have. While the server's own queue is [ServerQueue.Full], no new agent starts unless none is live.
//
// [Ledger.Room] is a further limit, where the server reports the size of its KV cache.
func ClaimSize(s Snapshot) int {
	if !s.Ready {
		return 0
	}
	return s.Server.Fresh(s.LiveAgents, max(0, min(s.MaxAgents-s.LiveAgents, s.Slots-s.SlotQueue, s.MaxBatch)))
}
