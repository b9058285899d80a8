package batch

import "strings"

// Condition is the state of a batch that every command, page, alert and API answer shows. internal/operation computes it.
type Condition struct {
	State  BatchState `json:"state,omitempty"`
	Reason string     `json:"state_reason,omitempty"` // for people; "" if the state needs none
}

// BatchState is one word of a batch's [Condition].
type BatchState string

// The states of a batch.
const (
	BatchQueued           BatchState = "queued"               // no job has started yet
	BatchRunning          BatchState = "running"              // jobs run, or the next ones start soon
	BatchPaused           BatchState = "paused"               // no model call starts: the budget is used up, or every model server refuses
	BatchWaiting          BatchState = "waiting for a worker" // no live worker can serve it
	BatchDone             BatchState = "done"                 // every job has an output
	BatchDoneWithFailures BatchState = "done with failures"   // some jobs, or the reduction, failed
	BatchFailed           BatchState = "failed"               // no job has an output, or the plan failed
	BatchCancelled        BatchState = "cancelled"            // cancelled; also while its last jobs end
)

// Ended reports whether the batch no longer needs a worker.
func (s BatchState) Ended() bool {
	switch s {
	case BatchDone, BatchDoneWithFailures, BatchFailed, BatchCancelled:
		return true
	}
	return false
}

// Moves reports whether results arrive in this state, so that a time left can be estimated.
func (s BatchState) Moves() bool { return s == BatchQueued || s == BatchRunning }

// WorkerState is the state of a worker.
type WorkerState string

// The states of a worker.
const (
	ReadyWorker    WorkerState = "ready"    // it claims jobs
	DrainingWorker WorkerState = "draining" // it was asked to end and claims no more jobs
	UnreadyWorker  WorkerState = "unready"  // its model server cannot be used
	LostWorker     WorkerState = "lost"     // its heartbeats stopped
)

// StateOf returns a worker's state and the reason for it, as text for people. The reason of a ready worker is empty, unless
// calls to one of its models are paused.
func StateOf(r WorkerRecord) (WorkerState, string) {
	switch {
	case r.Lost:
		return LostWorker, "no heartbeat since " + r.SeenAt.Local().Format("15:04:05")
	case r.Draining:
		return DrainingWorker, "it was asked to end"
	case !r.Ready && len(r.Pauses) > 0:
		return UnreadyWorker, r.paused()
	case !r.Ready:
		return UnreadyWorker, "its model server " + r.Endpoint + " does not answer"
	}
	return ReadyWorker, r.paused()
}

// paused lists the worker's pauses in one line.
func (r WorkerRecord) paused() string {
	reasons := make([]string, len(r.Pauses))
	for i, p := range r.Pauses {
		reasons[i] = strings.TrimSpace(p.Model + " " + p.String())
	}
	return strings.Join(reasons, "; ")
}

// Live returns the records of workers that are not lost.
func Live(records []WorkerRecord) []WorkerRecord {
	var out []WorkerRecord
	for _, r := range records {
		if !r.Lost {
			out = append(out, r)
		}
	}
	return out
}
