package spec

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A spec received over the API takes its inputs from the rest of the request, and reads no file.
func TestParse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, after string
		total       int64
		err         string
	}{
		"no word of inputs":  {"name: x\ntask: y {a}\n", "{\"a\":1}\n{\"a\":2}\n", 2, ""},
		"standard input":     {"name: x\ntask: y {a}\ninputs: '-'\n", "{\"a\":1}\n", 1, ""},
		"another format":     {"name: x\ntask: y {a}\ninputs: {stdin: csv}\n", "a\n1\n2\n3\n", 3, ""},
		"inputs in the spec": {"name: x\ntask: y {a}\ninputs: [{a: 1}]\n", "", 1, ""},
		"nothing at all":     {"name: x\ntask: y {a}\n", "", 0, "no inputs"},
		"a bad line":         {"name: x\ntask: y {a}\n", "{\"a\":1}\n{\n", 0, "inputs:2: "},
		"a prompt file":      {"name: x\ntask: {file: p.txt}\n", "", 0, `spec.yaml:2: field task.file: names "p.txt"`},
		"a schema file":      {"name: x\ntask: y\noutput_schema: s.json\n", "", 0, `names "s.json"`},
		"an inputs file":     {"name: x\ntask: y\ninputs: in.jsonl\n", "", 0, `names "in.jsonl"`},
		"an absolute file":   {"name: x\ntask: y\ninputs: {file: /etc/passwd, format: text}\n", "", 0, `names "/etc/passwd"`},
		"a results file":     {"name: x\ntask: y\ninputs: {results: /etc/passwd}\n", "", 0, `names "/etc/passwd"`},
		"a glob":             {"name: x\ntask: y\ninputs: '**/*.go'\n", "", 0, `names "**/*.go"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Parse("spec.yaml", []byte(c.text), LoadOptions{Stdin: strings.NewReader(c.after)})
			var prepared *Prepared
			if err == nil {
				defer s.Close()
				prepared, err = s.Prepare(t.Context())
			}
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.NotContains(t, err.Error(), "is required", "one mistake is told once")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.total, prepared.Total)
			assert.Equal(t, c.after != "", s.Takes())
		})
	}
	_, err := Parse("spec.yaml", make([]byte, maxSpecBytes+1), LoadOptions{})
	assert.ErrorContains(t, err, "4 MiB")
}
