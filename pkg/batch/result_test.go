package batch

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The lines are what users' scripts read: a change here breaks them.
func TestResultJSONIsTheContract(t *testing.T) {
	usage := Usage{PromptTokens: 812, CachedTokens: 640, CompletionTokens: 57}
	for name, c := range map[string]struct {
		r    Result
		want string
	}{
		"ok": {
			Result{Batch: "b_1", JobID: "job-3", Index: 3, Status: OK, Output: json.RawMessage(`{"a":1}`), Attempts: 1, Turns: 2,
				Usage: usage, Tools: ToolCounts{Asked: 1}, Model: "m", Worker: "node-1", WallMS: 412},
			`{"batch":"b_1","job_id":"job-3","index":3,"status":"ok","output":{"a":1},"error":null,"attempts":1,"turns":2,` +
				`"usage":{"prompt_tokens":812,"cached_tokens":640,"completion_tokens":57},"tools":{"asked":1,"executed":0},` +
				`"model":"m","worker":"node-1","wall_ms":412}`,
		},
		"failed": {
			Result{Batch: "b_1", JobID: "job-0", Status: StatusFailed, Error: NewError(Timeout, "late")},
			`{"batch":"b_1","job_id":"job-0","index":0,"status":"failed","output":null,` +
				`"error":{"type":"Timeout","message":"late","retryable":true},"attempts":0,"turns":0,` +
				`"usage":{"prompt_tokens":0,"cached_tokens":0,"completion_tokens":0},"tools":{"asked":0,"executed":0},` +
				`"model":"","worker":"","wall_ms":0}`,
		},
		"cancelled, with raw text": {
			Result{JobID: "job-0", Status: StatusCancelled, Error: &Error{Type: JobCancelled, Message: "m", Raw: "r"}},
			`{"batch":"","job_id":"job-0","index":0,"status":"cancelled","output":null,` +
				`"error":{"type":"Cancelled","message":"m","retryable":false,"raw":"r"},"attempts":0,"turns":0,` +
				`"usage":{"prompt_tokens":0,"cached_tokens":0,"completion_tokens":0},"tools":{"asked":0,"executed":0},` +
				`"model":"","worker":"","wall_ms":0}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			line, err := json.Marshal(c.r)
			require.NoError(t, err)
			require.Equal(t, c.want, string(line))
			var back Result
			require.NoError(t, json.Unmarshal(line, &back))
			again, err := json.Marshal(back)
			require.NoError(t, err)
			require.Equal(t, c.want, string(again))
		})
	}
}

// declared are the values of all constants of type ErrorType in result.go.
func declared(t *testing.T) (types []ErrorType) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "result.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if name, ok := v.Type.(*ast.Ident); ok && name.Name == "ErrorType" {
				s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				types = append(types, ErrorType(s))
			}
		}
		return true
	})
	return types
}

func TestErrorTypesAreAClosedAndDocumentedList(t *testing.T) {
	require.Equal(t, []ErrorType{
		"BadInput", "Oversized", "OutputInvalid", "OutputTruncated", "TurnsExhausted", "Timeout", "BackendRejected",
		"BackendUnavailable", "EffectUnknown", "BudgetExceeded", "PlanTooLarge", "WorkerLost", "Cancelled",
	}, ErrorTypes)
	require.Equal(t, ErrorTypes, declared(t), "a constant is missing in ErrorTypes")

	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "results.md"))
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(text), "## Error types")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []ErrorType
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|[^|]*\\| (yes|no) \\|").FindAllStringSubmatch(section, -1) {
		kind := ErrorType(row[1])
		documented = append(documented, kind)
		require.Equal(t, row[2] == "yes", kind.Retryable(), "retryable of %s in docs/results.md", kind)
	}
	require.Equal(t, ErrorTypes, documented)
}

func TestStatusCommitsATerminalState(t *testing.T) {
	require.Equal(t, Complete, OK.State())
	require.Equal(t, Failed, StatusFailed.State())
	require.Equal(t, Cancelled, StatusCancelled.State())
}
