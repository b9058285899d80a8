package filter

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/batchagent/batchagent/pkg/batch"
)

// changedName is the name of a job whose input or prompt has changed.
const changedName = "changed"

// names has the values that a condition may use, by name.
var names = map[string]func(r *batch.Result) (any, error){
	"ok":          func(r *batch.Result) (any, error) { return r.Status == batch.OK, nil },
	"failed":      func(r *batch.Result) (any, error) { return r.Status == batch.StatusFailed, nil },
	"cancelled":   func(r *batch.Result) (any, error) { return r.Status == batch.StatusCancelled, nil },
	"status":      func(r *batch.Result) (any, error) { return string(r.Status), nil },
	"index":       func(r *batch.Result) (any, error) { return number(r.Index), nil },
	"job_id":      func(r *batch.Result) (any, error) { return r.JobID, nil },
	"output":      func(r *batch.Result) (any, error) { return decode(r.Output) },
	"id":          func(r *batch.Result) (any, error) { return orNull(r.ID), nil },
	"input":       func(r *batch.Result) (any, error) { return decode(r.Input) },
	"item":        func(r *batch.Result) (any, error) { return decode(r.Item) },
	"error":       func(r *batch.Result) (any, error) { return errorOf(r), nil },
	"attempts":    func(r *batch.Result) (any, error) { return number(int64(r.Attempts)), nil },
	"turns":       func(r *batch.Result) (any, error) { return number(int64(r.Turns)), nil },
	"usage":       func(r *batch.Result) (any, error) { return usageOf(r), nil },
	"tools":       func(r *batch.Result) (any, error) { return toolsOf(r), nil },
	"model":       func(r *batch.Result) (any, error) { return r.Model, nil },
	"worker":      func(r *batch.Result) (any, error) { return r.Worker, nil },
	"wall_ms":     func(r *batch.Result) (any, error) { return number(r.WallMS), nil },
	"simulated":   func(r *batch.Result) (any, error) { return r.Simulated, nil },
	"reused_from": func(r *batch.Result) (any, error) { return orNull(r.ReusedFrom), nil },
}

// members are the fields of the values whose fields are the same in every result.
var members = map[string][]string{
	"error": {"type", "message", "retryable", "raw"},
	"usage": {"prompt_tokens", "cached_tokens", "completion_tokens", "context_tokens"},
	"tools": {"asked", "executed"},
}

func errorOf(r *batch.Result) any {
	if r.Error == nil {
		return nil
	}
	return map[string]any{"type": string(r.Error.Type), "message": r.Error.Message, "retryable": r.Error.Retryable, "raw": orNull(r.Error.Raw)}
}

func usageOf(r *batch.Result) any {
	u := r.Usage
	return map[string]any{
		"prompt_tokens": number(u.PromptTokens), "cached_tokens": number(u.CachedTokens), "completion_tokens": number(u.CompletionTokens),
		"context_tokens": number(u.ContextTokens),
	}
}

func toolsOf(r *batch.Result) any {
	return map[string]any{"asked": number(r.Tools.Asked), "executed": number(r.Tools.Executed)}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// decode reads a JSON value. Numbers stay texts, so that long integers stay exact.
func decode(raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		return nil, nil //nolint:nilnil // null is a value
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// knownNames lists the names of a condition.
func knownNames(o Options) []string {
	known := slices.Collect(maps.Keys(names))
	if o.Changed {
		known = append(known, changedName)
	}
	slices.Sort(known)
	return known
}

// listed returns names for a message. The nearest to a mistyped one comes first.
func listed(names []string, mistyped string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	slices.SortStableFunc(names, func(a, b string) int {
		return min(levenshtein.Distance(mistyped, a, nil), 3) - min(levenshtein.Distance(mistyped, b, nil), 3)
	})
	return strings.Join(names, ", ")
}
