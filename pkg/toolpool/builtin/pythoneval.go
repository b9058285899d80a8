package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	starlarkjson "go.starlark.net/lib/json"
	starlarkmath "go.starlark.net/lib/math"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/batchagent/batchagent/pkg/internal/capture"
	"github.com/batchagent/batchagent/pkg/internal/confine"
	"github.com/batchagent/batchagent/pkg/toolpool"
)

const (
	evalTimeout   = 10 * time.Second
	maxSteps      = 50_000_000
	maxEvalMemory = 256 << 20 // bytes, of the evaluating process
	maxProgram    = 64 << 10
	maxEvalOutput = 32 << 10
)

const pythonEvalParameters = `{
	"type": "object",
	"properties": {"code": {"type": "string", "minLength": 1, "description": "the program; its last expression is the result, and print() output is returned too"}},
	"required": ["code"],
	"additionalProperties": false
}`

// evalTask evaluates programs in its own process.
var evalTask = confine.New("python-eval", confine.Limits{Memory: maxEvalMemory, CPU: evalTimeout}, func(code []byte) ([]byte, error) {
	text, err := evaluate(string(code))
	return []byte(text), err
})

// PythonEval returns the tool python_eval, which runs small calculations in Starlark, a dialect of Python without
// files, network, clock, import or classes.
//
// Programs run in other processes, because a single step can allocate any amount of memory (list(range(10**9))), and nothing inside a
// process can stop that. Such a process has an empty environment, a step limit and, on Linux, a memory limit.
func PythonEval() toolpool.Tool {
	return toolpool.Tool{
		Name: "python_eval",
		Description: `Run a small program in Starlark, a dialect of Python: numbers, strings, lists, dicts, sets, comprehensions, functions, loops, ` +
			`and the modules json and math, which are there without import. There are no files, no network, no import, no classes and no f-strings. ` +
			`The value of the last expression and what print() wrote come back.`,
		Parameters: json.RawMessage(pythonEvalParameters),
		Version:    "1",
		Share:      toolpool.Pure,
		Timeout:    evalTimeout,
		Run: func(ctx context.Context, args json.RawMessage) (string, error) {
			var a struct{ Code string }
			if err := json.Unmarshal(args, &a); err != nil {
				return "", fmt.Errorf("read arguments: %w", err)
			}
			if len(a.Code) > maxProgram {
				return "", fmt.Errorf("the program has more than %d bytes", maxProgram)
			}
			if strings.ContainsRune(a.Code, 0) {
				return "", errors.New("the program holds a NUL character")
			}
			out, err := evalTask.Do(ctx, []byte(a.Code))
			if stopped, ok := errors.AsType[*confine.StoppedError](err); ok {
				return "", fmt.Errorf("the program %w", stopped)
			}
			return string(out), err
		},
	}
}

// evaluate runs a program within maxSteps.
func evaluate(code string) (string, error) {
	const result = "_result"
	dialect := &syntax.FileOptions{Set: true, While: true, TopLevelControl: true, GlobalReassign: true, Recursion: true}
	file, err := dialect.Parse("program", code, 0)
	if err != nil {
		return "", fmt.Errorf("the program is not valid: %w", err)
	}
	// Assigns the value of the last expression to a variable.
	if n := len(file.Stmts); n > 0 {
		if last, ok := file.Stmts[n-1].(*syntax.ExprStmt); ok {
			start, _ := last.Span()
			file.Stmts[n-1] = &syntax.AssignStmt{OpPos: start, Op: syntax.EQ, LHS: &syntax.Ident{NamePos: start, Name: result}, RHS: last.X}
		}
	}
	predeclared := starlark.StringDict{"json": starlarkjson.Module, "math": starlarkmath.Module}
	program, err := starlark.FileProgram(file, predeclared.Has)
	if err != nil {
		return "", fmt.Errorf("the program is not valid: %w", err)
	}
	printed := capture.NewHead(maxEvalOutput)
	thread := &starlark.Thread{Name: "program", Print: func(_ *starlark.Thread, text string) { fmt.Fprintln(printed, text) }}
	thread.SetMaxExecutionSteps(maxSteps)
	globals, err := program.Init(thread, predeclared)
	if err != nil {
		if thread.ExecutionSteps() >= maxSteps {
			return "", fmt.Errorf("the program was stopped after %d steps", maxSteps)
		}
		if e, ok := errors.AsType[*starlark.EvalError](err); ok {
			return "", fmt.Errorf("%s\n%s", e.Error(), e.CallStack)
		}
		return "", err
	}
	if v, ok := globals[result]; ok && v != starlark.None {
		text := v.String()
		if s, isText := starlark.AsString(v); isText {
			text = s
		}
		fmt.Fprintln(printed, text)
	}
	return printed.Text(), nil
}
