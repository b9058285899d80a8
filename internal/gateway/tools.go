package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/batchagent/batchagent/internal/version"
)

// maxToolCall limits the body of a request about tools, in bytes.
const maxToolCall = 16 << 20

// bodyTime limits how long a client may take for the body of such a request. Clients are on this machine.
const bodyTime = time.Minute

// answerTime limits how long a client may take to read an answer.
const answerTime = time.Minute

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
	inner := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		Stateless: true, JSONResponse: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deadline := http.NewResponseController(w).SetReadDeadline
		_ = deadline(time.Now().Add(bodyTime)) // a test's recorder has none
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxToolCall))
		if err != nil {
			http.Error(w, fmt.Sprintf("the request cannot be read, or has more than %d MiB", maxToolCall>>20), http.StatusRequestEntityTooLarge)
			return
		}
		_ = deadline(time.Time{}) // it would end tools that take longer
		r.Body = io.NopCloser(bytes.NewReader(body))
		inner.ServeHTTP(patient{w}, r)
	})
}

// patient is a response whose client has [answerTime] to read each piece.
type patient struct{ http.ResponseWriter }

func (p patient) Write(text []byte) (int, error) {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(answerTime)) // a test's recorder has none
	return p.ResponseWriter.Write(text)
}

// Unwrap is for [http.ResponseController].
func (p patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }
