package batch

import "fmt"

// State is the progress of a job. The strings are part of the wire format and of the metrics.
type State string

// The states of a job.
const (
	// Pending: in the job stream, without a live lease. Claim is the only way on.
	Pending State = "PENDING"
	// Preflight: leased; the prompt is rendered and checked against the model's context. This attempt has made no model call.
	Preflight State = "PREFLIGHT"
	// Running: waiting for a slot, or inside a model call.
	Running State = "RUNNING"
	// ToolWait: tool calls of the turn are running. No slot is held (I8).
	ToolWait State = "TOOL_WAIT"
	// Complete: a result with status "ok" is committed.
	Complete State = "COMPLETE"
	// Failed: a result with status "failed" is committed. `retry` makes the job pending again.
	Failed State = "FAILED"
	// Cancelled: a result with status "cancelled" is committed.
	Cancelled State = "CANCELLED"
)

// States lists every state in the order of a job's life.
var States = []State{Pending, Preflight, Running, ToolWait, Complete, Failed, Cancelled}

// Terminal reports whether a result is committed in this state.
func (s State) Terminal() bool { return s == Complete || s == Failed || s == Cancelled }

// Leased reports whether a worker holds a lease in this state.
func (s State) Leased() bool { return s == Preflight || s == Running || s == ToolWait }

// Event moves a job from one state to another.
type Event string

// The events of a job.
const (
	// Claim: a worker got the lease.
	Claim Event = "claim"
	// Ready: the prompt is rendered and fits; the first turn of this attempt may start.
	Ready Event = "ready"
	// AskTools: the model's turn ended with tool calls.
	AskTools Event = "ask_tools"
	// ToolsDone: every tool call of the turn has an outcome.
	ToolsDone Event = "tools_done"
	// Succeed: a schema-valid output is committed.
	Succeed Event = "succeed"
	// Fail: a structured error is committed.
	Fail Event = "fail"
	// Cancel: the batch was cancelled, and a result with status "cancelled" is committed.
	Cancel Event = "cancel"
	// Release: the holder gave the lease back. The attempt is not counted (I5).
	Release Event = "release"
	// Expire: the lease expired. The attempt is counted.
	Expire Event = "expire"
	// Retry: a user retried the job.
	Retry Event = "retry"
)

// Events lists every event.
var Events = []Event{Claim, Ready, AskTools, ToolsDone, Succeed, Fail, Cancel, Release, Expire, Retry}

// TransitionError reports an event that is not allowed in a state. It is a defect in the caller, never a user's mistake.
type TransitionError struct {
	State State
	Event Event
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("a job in state %s cannot take the event %s", e.State, e.Event)
}

// Next returns the state that follows s after e. It returns s and a *[TransitionError] for every pair that it does not list.
//
// A worker claims a job before it cancels it, so that the one result of the job is fenced like any other.
func Next(s State, e Event) (State, error) {
	if s.Leased() {
		switch e {
		case Fail:
			return Failed, nil
		case Cancel:
			return Cancelled, nil
		case Release, Expire:
			return Pending, nil
		}
	}
	switch {
	case s == Pending && e == Claim:
		return Preflight, nil
	case s == Preflight && e == Ready:
		return Running, nil
	case s == Running && e == AskTools:
		return ToolWait, nil
	case s == Running && e == Succeed:
		return Complete, nil
	case s == ToolWait && e == ToolsDone:
		return Running, nil
	case s == Failed && e == Retry:
		return Pending, nil
	}
	return s, &TransitionError{State: s, Event: e}
}
