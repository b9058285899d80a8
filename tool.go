package batchagent

import (
	"context"
	"encoding/json"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/owntool"
)

// Tool is a function that agents may call. Create one with [Func] or [Named]. Share, Timeout and the other fields of a Func may
// be set before the batch or the worker starts. The fields of a Named are ignored, except the name.
type Tool struct {
	toolpool.Tool
	err error // the error of Func; the batch or the worker returns it
	id  *byte // equal for copies of one Func
}

// MarshalJSON returns the tool's name, which is the form of a tool in a spec.
func (t Tool) MarshalJSON() ([]byte, error) { return json.Marshal(t.Name) }

// The values of Tool.Share select the calls that share one execution. A [Func] defaults to Inflight.
const (
	Pure     = toolpool.Pure     // equal calls always have the same result, which is cached
	ForTTL   = toolpool.ForTTL   // equal calls share a result for Tool.TTL
	Inflight = toolpool.Inflight // equal calls that overlap in time share a result
	Effect   = toolpool.Effect   // every call runs, because the tool has side effects
)

// Func returns a tool that is a Go function of this program. The schema of the arguments is derived from the struct A, as in
// [Batch]. Arguments of run match the schema. Many goroutines may call run at once. The model reads the returned string, or the
// text of the error. A name of a built-in tool replaces that tool.
//
// In this process the function is a tool of a [Batch]. On a cluster it is a tool of a [Worker], and a Batch names it.
func Func[A any](name, description string, run func(context.Context, A) (string, error)) Tool {
	t, err := owntool.Func(name, description, run)
	return Tool{t, err, new(byte)}
}

// Named returns a built-in tool, such as read_file, or a tool of the [ToolsFile] or of the cluster's workers.
func Named(name string) Tool { return Tool{Tool: toolpool.Tool{Name: name}} }
