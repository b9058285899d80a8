package builtin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/toolpool"
	"github.com/batchagent/batchagent/pkg/toolpool/builtin"
)

func TestPythonEval(t *testing.T) {
	t.Parallel()
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	tool := builtin.PythonEval()
	tool.Timeout = 5 * time.Minute // the limits of steps and memory end programs first, on a busy machine too
	require.NoError(t, p.Register(tool))
	for _, c := range []struct {
		code, want string
		failed     bool
	}{
		{"1 + 2 * 3", "7\n", false},
		{"def f(n):\n  return n if n < 2 else f(n - 1) + f(n - 2)\nf(15)", "610\n", false},
		{"print('a')\nx = [i * i for i in range(4)]\nx", "a\n[0, 1, 4, 9]\n", false},
		{"'text'", "text\n", false},
		{"json.encode({'a': math.sqrt(16)})", "{\"a\":4.0}\n", false},
		{"x = 1", "(no output)", false},
		{"for i in range(40000):\n  print('0123456789')", "[cut: the first 32768 of 440000 bytes]", false},

		{"1 +", "not valid", true},
		{"import os", "not valid", true},
		{"open('/etc/passwd')", "undefined: open", true},
		{"load('x.star', 'y')", "load not implemented", true},
		{"x = 'a\x00b'", "NUL", true},
		{"1 // 0", "division by zero", true},
		{"while True:\n  pass", "stopped after 50000000 steps", true},
		{"x = list(range(1000 * 1000 * 1000))\nlen(x)", "more than 256 MiB", true},
		{"x = 'a' * 1000\nfor i in range(30):\n  x = x + x\nlen(x)", "more than 256 MiB", true},
		{"def f():\n  return f()\nf()", "", true},
		{"#" + strings.Repeat("x", 70000), "more than 65536 bytes", true},
	} {
		if !memoryLimited && (c.want == "" || strings.Contains(c.want, "256 MiB") || strings.Contains(c.want, "steps")) {
			continue
		}
		r := use(t, p, "python_eval", args{"code": c.code})
		assert.Equal(t, c.failed, r.Failed, "%.60s: %.300s", c.code, r.Content)
		assert.Contains(t, r.Content, c.want, "%.60s", c.code)
	}
}

func TestPythonEvalEndsAtItsTimeout(t *testing.T) {
	t.Parallel()
	p, err := toolpool.New(toolpool.Config{})
	require.NoError(t, err)
	tool := builtin.PythonEval()
	tool.Timeout = 300 * time.Millisecond
	require.NoError(t, p.Register(tool))
	// Single steps that take very long: each squares an ever larger number.
	r := use(t, p, "python_eval", args{"code": "x = 3\nfor i in range(40):\n  x = x * x\n"})
	assert.True(t, r.Failed)
	assert.Contains(t, r.Content, "gave no answer within 300ms")
}
