package operation

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDrawIsDeterministic(t *testing.T) {
	t.Parallel()
	const rows = 3000
	small, large := Selection{Sample: 20, Seed: 1}.draw(rows), Selection{Sample: 100, Seed: 1}.draw(rows)
	assert.Equal(t, int64(20), small.Count())
	assert.Equal(t, int64(100), large.Count())
	assert.Equal(t, small, Selection{Sample: 20, Seed: 1}.draw(rows))
	assert.NotEqual(t, small, Selection{Sample: 20, Seed: 2}.draw(rows))
	var late int
	for i := range int64(rows) {
		assert.False(t, small.Has(i) && !large.Has(i), "row %d left the larger sample", i)
		if large.Has(i) && i >= rows/2 {
			late++
		}
	}
	assert.InDelta(t, 50, late, 20)
}

func TestSelectionChoosesRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spec.yaml")
	var rows strings.Builder
	for i := range 30 {
		fmt.Fprintf(&rows, "  - {text: row %d, lang: %s}\n", i, []string{"en", "fr"}[i/20])
	}
	require.NoError(t, os.WriteFile(path, []byte("task: 'In {lang}: {text}'\ninputs:\n"+rows.String()), 0o600))
	payloads := func(s Selection) (out []string, total int64, fingerprint string) {
		spec, p, err := LoadSpec(t.Context(), SubmitOptions{Spec: path, Select: s})
		require.NoError(t, err)
		defer spec.Close()
		for line, err := range p.Payloads(t.Context()) {
			require.NoError(t, err)
			out = append(out, string(line))
		}
		fingerprint, err = p.Fingerprint()
		require.NoError(t, err)
		return out, p.Total, fingerprint
	}
	all, total, whole := payloads(Selection{})
	require.Len(t, all, 30)
	assert.Equal(t, int64(30), total)

	first, total, limited := payloads(Selection{Limit: 5})
	assert.Equal(t, all[:5], first, "the prompt does not depend on the selection, although lang is the same in these rows")
	assert.Equal(t, int64(5), total)
	assert.NotEqual(t, whole, limited)

	sample, total, _ := payloads(Selection{Sample: 7, Seed: 3})
	assert.Equal(t, int64(7), total)
	assert.Len(t, sample, 7)
	assert.Subset(t, all, sample)

	same, _, again := payloads(Selection{Limit: 30})
	assert.Equal(t, all, same)
	assert.Equal(t, whole, again)
}

func TestSelectionRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []Selection{{Limit: -1}, {Seed: 1}, {Limit: 1, Sample: 1}} {
		_, _, err := LoadSpec(t.Context(), SubmitOptions{Spec: "../../examples/returns/batch.yaml", ToolsRoot: "../..", Select: s})
		require.ErrorContains(t, err, "limit", "%+v", s)
	}
}
