package agent

import (
	"encoding/json"
	"slices"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/plainjson"
	"github.com/batchagent/batchagent/pkg/spec"
)

// maxPredicted limits the arguments of a predictable call, in bytes.
const maxPredicted = 512

// predictable returns the first call of a turn in the form of a spec's preload, or nil if no argument is a value of the input.
func predictable(calls []backend.ToolCall, input map[string]any) *batch.FirstCall {
	if len(calls) == 0 {
		return nil
	}
	var args map[string]any
	if json.Unmarshal([]byte(calls[0].Arguments), &args) != nil {
		return nil
	}
	fields := make([]string, 0, len(input))
	for name := range input {
		fields = append(fields, name)
	}
	slices.Sort(fields)
	found := false
	for name, value := range args {
		text, ok := value.(string)
		if !ok {
			continue
		}
		args[name] = spec.Escape(text)
		for _, field := range fields {
			if v, ok := input[field].(string); ok && v != "" && v == text {
				args[name], found = "{"+field+"}", true
				break
			}
		}
	}
	written, err := plainjson.Marshal(args)
	if !found || err != nil || len(written) > maxPredicted {
		return nil
	}
	return &batch.FirstCall{Tool: calls[0].Name, Args: written}
}
