package builtin

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// patience is the time limit for one input. The fuzzer takes an input for a deadlock after 10 s, so a target must end soon after patience.
const patience = 3 * time.Second

// Any page gives bounded text or an error, at the latest when its time is over.
func FuzzMarkdown(f *testing.F) {
	for _, page := range []string{
		"<h1>a</h1><ul><li>b<ol><li>c</ol></ul>", strings.Repeat("<blockquote>", 50) + "x", "<table><tr><td><table><tr><td>x", "<svg><foreignObject><p>a", "<pre><code>`a`",
		"<a href='javascript:x'>y</a><img src=x alt=y>", "&#x110000;&amp&lt;", "<p a=" + strings.Repeat("b", 300), "<!--", "<script>a", "\x00<p>",
	} {
		f.Add(page)
	}
	f.Fuzz(func(t *testing.T, page string) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		text, _ := markdown(ctx, page)
		require.LessOrEqual(t, len(text), maxMarkdown)
	})
}

// Any program ends within its limits, at the latest when its time is over.
func FuzzProgram(f *testing.F) {
	for _, code := range []string{
		"1 + 1", "[0] * 10**9", "'x' * 10**10", "def f(): return f()\nf()", "x = [1]\nx.append(x)\nx", "2 ** 100000", "json.decode('[' * 100000)",
		"while True: pass", "lambda: 1", "load('x', 'y')", "{}[1]", "range(10**18)[5]", "'%s' % 1", "set([1]) | set([2])",
	} {
		f.Add(code)
	}
	tool := PythonEval()
	f.Fuzz(func(t *testing.T, code string) {
		args, err := json.Marshal(map[string]string{"code": code})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		text, err := tool.Run(ctx, args)
		if err == nil {
			require.LessOrEqual(t, len(text), 2*maxEvalOutput)
		}
	})
}

// Any regular expression ends, at the latest when its time is over.
func FuzzGrep(f *testing.F) {
	for _, p := range []string{"(a|aa)+$", "(?:a{0,30}){0,30}", "\\pL+", "(?i)ſ", "[", "a**", "\\C", "x*"} {
		f.Add(p, "aaaa\nb\n")
	}
	dir := f.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(f, err)
	defer root.Close()
	tool := GrepFiles(root, nil)
	f.Fuzz(func(t *testing.T, pattern, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte(text), 0o600))
		args, err := json.Marshal(map[string]string{"pattern": pattern, "path": "."})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := tool.Run(ctx, args)
		if err == nil && utf8.ValidString(text) {
			require.True(t, utf8.ValidString(out))
		}
	})
}

// Any answer of a search service is parsed or refused.
func FuzzSearchAnswer(f *testing.F) {
	f.Add([]byte(`{"web":{"results":[{"title":"a","url":"b","description":"c"}]},"organic_results":[{"title":"a","link":"b","snippet":"c"}],"results":[{"title":"a","url":"b","content":"c"}]}`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		for _, p := range SearchProviders {
			_, _ = p.read(body)
		}
	})
}
