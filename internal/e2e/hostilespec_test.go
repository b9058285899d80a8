package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostileSpecs are the texts of expensive specs, by name.
func hostileSpecs() map[string]string {
	spec := func(schema string) string { return "task: a {x}\ninputs: [{x: 1}]\noutput_schema: " + schema + "\n" }
	list := func(n int, format string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = strings.ReplaceAll(format, "%d", fmt.Sprint(i))
		}
		return strings.Join(parts, ",")
	}
	levels := func(word string) string {
		var b strings.Builder
		b.WriteString(`{"$ref":"#/$defs/l30","$defs":{"l0":{"type":"string"}`)
		for i := 1; i <= 30; i++ {
			fmt.Fprintf(&b, `,"l%d":{%q:[{"$ref":"#/$defs/l%d"},{"$ref":"#/$defs/l%d"}]}`, i, word, i-1, i-1)
		}
		return b.String() + "}}"
	}
	var laughs strings.Builder
	laughs.WriteString("task: a {x}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	long := strings.Repeat("x", 500_000)
	return map[string]string{
		"anyOf levels":          spec(levels("anyOf")),
		"oneOf levels":          spec(levels("oneOf")),
		"allOf levels":          spec(levels("allOf")),
		"10000 properties":      spec(`{"type":"object","properties":{` + list(10_000, `"p%d":{"type":"string"}`) + `}}`),
		"100000 properties":     spec(`{"type":"object","properties":{` + list(100_000, `"p%d":{"type":"string"}`) + `}}`),
		"unknown keywords":      spec(`{"type":"object",` + list(50_000, `"propertie%d":1`) + `}`),
		"required names":        spec(`{"type":"object","required":[` + list(80_000, `"n%d"`) + `]}`),
		"long identity":         spec(`{"$id":"http://h/` + long + `/","type":"object","$defs":{` + list(9_000, `"d%d":{"$id":"a%d"}`) + `}}`),
		"circle of references":  spec(`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`),
		"exponent":              spec(`{"type":"number","multipleOf":1e-1000000}`),
		"digits":                spec(`{"type":"number","maximum":` + strings.Repeat("7", 1_000_000) + `}`),
		"patterns":              spec(`{"type":"object","patternProperties":{` + list(900, `"^(((a{1,30}){1,30}){1,30})%d$":{}`) + `}}`),
		"enum of deep values":   spec(`{"enum":[` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `]}`),
		"aliases of aliases":    laughs.String(),
		"anchor within itself":  "task: a\na: &a [*a]\n",
		"merges":                "task: a {x}\nb: &b {c: 1}\ninputs:\n" + strings.Repeat("- {<<: *b, x: 1}\n", 20_000),
		"nesting":               "task: a\ninputs: " + strings.Repeat("[", 100_000),
		"blocks":                "task: a\ninputs:\n" + nestedYAML(3_000),
		"placeholders":          "task: '" + strings.Repeat("{x}", 100_000) + "'\ninputs: [{x: " + strings.Repeat("y", 10_000) + "}]\n",
		"names of placeholders": "task: '" + list(100_000, "{n%d}") + "'\ninputs: [{x: 1}]\n",
		"globs":                 "task: a {path}\ninputs: {glob: '" + strings.Repeat("**/", 2_000) + "*'}\n",
		"braces":                "task: a {path}\ninputs: {glob: '" + strings.Repeat("{a,b}", 2_000) + "'}\n",
		"directions":            "task: \"a \u202e{x}\"\nname: \"\u202eevil\"\ninputs: [{x: 1}]\n",
		"columns":               "task: a {c1}\ninputs: wide.csv\n",
		"quotes":                "task: a {x}\ninputs: quotes.csv\n",
		"line":                  "task: a {x}\ninputs: line.jsonl\n",
		"deep line":             "task: a {x}\ninputs: deep.jsonl\n",
		"gzip":                  "task: a {x}\ninputs: bomb.jsonl.gz\n",
	}
}

func nestedYAML(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestHostileSpecsCostLittle validates each within 20 s and 512 MB.
func TestHostileSpecsCostLittle(t *testing.T) {
	bin := built(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	write("wide.csv", strings.Repeat("c,", 1_000_000)+"c1\n"+strings.Repeat("1,", 1_000_000)+"1\n")
	write("quotes.csv", "x\n\""+strings.Repeat("a\n", 10<<20))
	write("line.jsonl", `{"x":"`+strings.Repeat("a", 64<<20)+`"}`+"\n")
	write("deep.jsonl", `{"x":`+strings.Repeat("[", 1_000_000)+strings.Repeat("]", 1_000_000)+"}\n")
	write("bomb.jsonl.gz", "\x1f\x8b\x08\x00")
	for name, text := range hostileSpecs() {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			path := write("batch.yaml", text)
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, "coordinator"), "validate", path)
			began := time.Now()
			out, _ := cmd.CombinedOutput()
			took := time.Since(began)
			usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			require.True(t, ok)
			t.Logf("%s, %d MB, status %d: %.150s", took.Round(time.Millisecond), usage.Maxrss>>10, cmd.ProcessState.ExitCode(), out)
			assert.Contains(t, []int{0, 2}, cmd.ProcessState.ExitCode())
			assert.Less(t, took, 20*time.Second)
			assert.Less(t, usage.Maxrss, int64(512<<10))
			assert.NotContains(t, string(out), "name           \u202e")
			assert.NotContains(t, string(out), "goroutine ")
			assert.Less(t, len(out), 5<<20)
		})
	}
}
