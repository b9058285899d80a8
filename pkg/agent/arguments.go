package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kaptinlin/jsonrepair"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/toolpool/schema"
)

// maxRepair bounds what is given to the JSON repairer, whose time grows with the square of the text.
const maxRepair = 32 << 10

// maxShown is how much of malformed arguments the model is shown again.
const maxShown = 300

// mendedCall is a tool call as the conversation keeps it.
type mendedCall struct {
	history backend.ToolCall
	problem string // for the model, if the arguments as it wrote them cannot be used; the call is not run then
}

// mendCalls makes calls fit for the history: some servers refuse for ever a conversation in which an earlier call has
// arguments that are not JSON, no ID, or the ID of another call of the same turn.
func mendCalls(turn int, calls []backend.ToolCall) []mendedCall {
	mended := make([]mendedCall, len(calls))
	used := map[string]bool{}
	for i, c := range calls {
		if c.ID == "" || used[c.ID] {
			c.ID = fmt.Sprintf("call_%d_%d", turn, i)
		}
		used[c.ID] = true
		args, problem := mendArguments(c.Arguments)
		if problem != "" {
			problem = fmt.Sprintf("the arguments of %.80s are %s. Write them as one JSON object. You wrote: %s", c.Name, problem, clip(c.Arguments, maxShown))
		}
		c.Arguments = args
		mended[i] = mendedCall{history: c, problem: problem}
	}
	return mended
}

// mendArguments returns arguments that are a JSON object: as they were written, if they are one; else repaired, or
// empty. problem says what is wrong with what was written.
func mendArguments(written string) (args, problem string) {
	text := strings.TrimSpace(written)
	switch {
	case text == "":
		return "{}", "" // what many models write for a call without arguments
	case isObject(text):
		return written, ""
	case json.Valid([]byte(text)):
		return "{}", "not a JSON object"
	}
	_, err := schema.Decode([]byte(text))
	if err == nil {
		return "{}", "not a JSON object"
	}
	if fixed, ok := repairJSON(text); ok && isObject(fixed) {
		return fixed, err.Error()
	}
	return "{}", err.Error()
}

func isObject(text string) bool {
	return strings.HasPrefix(text, "{") && json.Valid([]byte(text))
}

// repairJSON mends what looks like an object or an array.
func repairJSON(text string) (string, bool) {
	if len(text) > maxRepair || !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") {
		return "", false
	}
	fixed, err := jsonrepair.Repair(text)
	if err != nil || !json.Valid([]byte(fixed)) {
		return "", false
	}
	return fixed, true
}
