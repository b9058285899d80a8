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
	"time"

	"github.com/stretchr/testify/require"
)

// Users' scripts read these lines, so a change here breaks them.
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

// declared returns the values of all constants of type ErrorType in result.go.
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
		"BackendUnavailable", "EffectUnknown", "BudgetExceeded", "PlanTooLarge", "PreloadFailed", "ProgramFailed", "WorkerLost", "Cancelled",
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

func TestEveryStatusCommitsTerminalState(t *testing.T) {
	require.Equal(t, Complete, OK.State())
	require.Equal(t, Failed, StatusFailed.State())
	require.Equal(t, Cancelled, StatusCancelled.State())
}

func TestUsageOfTurnsAndJobs(t *testing.T) {
	var job Usage
	job.AddTurn(Usage{PromptTokens: 100, CompletionTokens: 10})
	job.AddTurn(Usage{PromptTokens: 150, CachedTokens: 96, CompletionTokens: 20})
	job.AddTurn(Usage{PromptTokens: 120, CachedTokens: 64, CompletionTokens: 5}) // the conversation was shortened
	require.Equal(t, Usage{PromptTokens: 370, CachedTokens: 160, CompletionTokens: 35, ContextTokens: 170}, job)
	all := job
	all.Add(job)
	require.EqualValues(t, 340, all.ContextTokens, "two jobs have two conversations")
}

func TestSharingComparesOwnCopiesWithComputedTokens(t *testing.T) {
	turns := func(all ...Usage) (u Usage) {
		for _, t := range all {
			u.AddTurn(t)
		}
		return u
	}
	times := func(n int, first, rest Usage) Usage {
		for range n - 1 {
			first.Add(rest)
		}
		return first
	}
	for name, c := range map[string]struct {
		usage Usage
		want  float64
	}{
		"nothing ran":                     {Usage{}, 0},
		"the server reports no cache":     {turns(Usage{PromptTokens: 100, CompletionTokens: 10}, Usage{PromptTokens: 120, CompletionTokens: 10}), 0},
		"usage of results without length": {Usage{PromptTokens: 100, CachedTokens: 50, CompletionTokens: 10}, 0},
		"one agent finds its own turns again": {turns(Usage{PromptTokens: 100, CompletionTokens: 20},
			Usage{PromptTokens: 160, CachedTokens: 120, CompletionTokens: 40}), 1},
		"a cache of blocks lost the end of its turn": {turns(Usage{PromptTokens: 100, CompletionTokens: 20},
			Usage{PromptTokens: 160, CachedTokens: 112, CompletionTokens: 40}), 200.0 / 208},
		"two agents share all but their answers": {times(2, turns(Usage{PromptTokens: 160, CompletionTokens: 40}),
			turns(Usage{PromptTokens: 160, CachedTokens: 160, CompletionTokens: 40})), 400.0 / 240},
		"ten agents, half of the prompt shared": {times(10, turns(Usage{PromptTokens: 200}),
			turns(Usage{PromptTokens: 200, CachedTokens: 100})), 2000.0 / 1100},
		"the second turn found nothing": {times(2, turns(Usage{PromptTokens: 100}, Usage{PromptTokens: 200}),
			turns(Usage{PromptTokens: 100, CachedTokens: 50}, Usage{PromptTokens: 200})), 400.0 / 550},
	} {
		require.InDelta(t, c.want, c.usage.Sharing(), 1e-9, name)
	}
}

func TestWallTimeExcludesQueueing(t *testing.T) {
	times := Times{Queued: 5000, Decode: 20}
	require.Equal(t, 20*time.Millisecond, times.Sum())
	for _, p := range times.Parts() {
		require.NotEqual(t, "queued", p.Name)
	}
	times.Add(Times{Queued: 1})
	require.EqualValues(t, 5001, times.Queued)
	require.True(t, times.Timed())
	require.False(t, Times{Queued: 1}.Timed(), "a reused result has no wall time")
}
