package gateway

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/batchagent/batchagent/internal/version"
)

// newTools returns the MCP server of one job, over streamable HTTP. It keeps no session: each request stands alone.
func newTools(calls Calls) http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "batchagent", Version: version.String()}, nil)
	for _, t := range calls.Tools() {
		server.AddTool(&mcp.Tool{Name: t.Name, Description: t.Description, InputSchema: json.RawMessage(t.Parameters)},
			func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				arguments := r.Params.Arguments
				if len(arguments) == 0 {
					arguments = json.RawMessage("{}")
				}
				result, err := calls.CallTool(ctx, t.Name, arguments)
				if err != nil {
					return nil, err
				}
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: result.Content}}, IsError: result.Failed}, nil
			})
	}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true,
	})
}
