package batchagent

import (
	"context"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/owntool"
)

// Tool is something that agents may call. Make one with [Func] or [Named]. Share, Timeout and the other fields of a Func
// may be set before it is used.
type Tool struct {
	toolpool.Tool
	err error // why Func could not make it; Run and Stream return it
}

// Who may share one execution of a call, as Tool.Share says it. A [Func] that declares nothing is Inflight.
const (
	Pure     = toolpool.Pure     // same arguments, same result, for ever: the result is cached
	ForTTL   = toolpool.ForTTL   // a result may be used again for Tool.TTL
	Inflight = toolpool.Inflight // callers that overlap in time
	Effect   = toolpool.Effect   // nobody: the tool has side effects
)

// Func is a tool that is a Go function of this program. The schema of the arguments is derived from the struct A, as that
// of [Batch] is from Out; run gets arguments that match it, and may be called by many goroutines at once. What it returns
// is what the model reads, an error's text too. The same name as a built-in tool's takes its place.
func Func[A any](name, description string, run func(context.Context, A) (string, error)) Tool {
	t, err := owntool.Func(name, description, run)
	return Tool{t, err}
}

// Named is a built-in tool, such as read_file, or one of the [ToolsFile] or of the cluster's workers.
func Named(name string) Tool { return Tool{Tool: toolpool.Tool{Name: name}} }
