package agent

import (
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/modeljson"
)

// maxShown is how many bytes of malformed arguments are shown to the model again.
const maxShown = 300

// repairedCall is a tool call as the conversation keeps it.
type repairedCall struct {
	history backend.ToolCall
	problem string // for the model, if its arguments cannot be used as written; the call is then not run
}

// repairCalls repairs calls for the history. Some servers refuse a conversation for its whole life if an earlier call has
// arguments that are not JSON, no ID, or the ID of another call of its turn.
func repairCalls(turn int, calls []backend.ToolCall) []repairedCall {
	repaired := make([]repairedCall, len(calls))
	used := map[string]bool{}
	for i, c := range calls {
		if c.ID == "" || used[c.ID] {
			c.ID = fmt.Sprintf("call_%d_%d", turn, i)
		}
		used[c.ID] = true
		args, problem := repairArguments(c.Arguments)
		if problem != "" {
			problem = fmt.Sprintf("the arguments of %.80s are %s. Write them as one JSON object. You wrote: %s", c.Name, problem, clip(c.Arguments, maxShown))
		}
		c.Arguments = args
		repaired[i] = repairedCall{history: c, problem: problem}
	}
	return repaired
}

// repairArguments returns arguments that are a JSON object: the original if it is one, else with repaired notation, or
// empty. problem is the fault in the original.
func repairArguments(written string) (args, problem string) {
	if strings.TrimSpace(written) == "" {
		return "{}", "" // written by many models for a call without arguments
	}
	doc, err := modeljson.Decode([]byte(written))
	if _, object := doc.(map[string]any); object {
		return strings.TrimPrefix(written, "\ufeff"), ""
	}
	if err == nil {
		return "{}", "not a JSON object"
	}
	if v, bad := modeljson.Read(written, 0); bad == nil && blank(written[v.End:]) && v.JSON[0] == '{' {
		return string(v.JSON), err.Error()
	}
	return "{}", err.Error()
}
