// Package notice defines the messages that an operation sends to its caller while it works, such as a warning about a spec or the start of
// an outage. The caller decides what to do with it: the command line prints it, a Go program logs it, the HTTP API returns
// it as a field.
package notice

import (
	"context"
	"fmt"
	"log/slog"
)

// Notice is one fact that a user should know.
type Notice struct {
	Code Code   `json:"code" jsonschema:"a stable name of the kind of notice"`
	Text string `json:"text" jsonschema:"the notice for people"`
}

// Code is the kind of a notice. Codes are stable.
type Code string

// Kinds of notices.
const (
	Spec         Code = "spec"          // a decision about a spec or its inputs
	SpecHint     Code = "spec_hint"     // the spec is valid, but probably not what its author wants
	BadInputs    Code = "bad_inputs"    // inputs that fail as BadInput
	InputOrder   Code = "input_order"   // the jobs are not sorted by common prefix
	ToolsUnknown Code = "tools_unknown" // no worker is alive, so that the tools cannot be checked
	ToolsSplit   Code = "tools_split"   // no single worker has all tools
	Settings     Code = "settings"      // a setting of Redis endangers data
	Outage       Code = "outage"        // a server does not answer, or answers again
	Resumed      Code = "resumed"       // work of an earlier command is continued
	Reused       Code = "reused"        // results of an earlier batch are reused
	Durable      Code = "durable"       // the batch survives a loss of its Redis server
	Waiting      Code = "waiting"       // jobs or calls wait, with the reason
	Planner      Code = "planner"       // the plan stage runs again
)

// Warns reports whether notices of this kind need a decision of the user.
func (c Code) Warns() bool {
	switch c {
	case SpecHint, InputOrder, ToolsUnknown, ToolsSplit, Settings:
		return true
	}
	return false
}

// Logged returns a function that logs notices: as a warning if the user must decide something.
func Logged(log *slog.Logger) Func {
	return func(n Notice) {
		level := slog.LevelInfo
		if n.Code.Warns() {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, n.Text)
	}
}

// Func receives notices. It may be called concurrently. Nil drops them.
type Func func(Notice)

// Send calls f with a notice.
func (f Func) Send(code Code, format string, args ...any) {
	if f != nil {
		f(Notice{Code: code, Text: fmt.Sprintf(format, args...)})
	}
}
