package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIdleAndLastTenth(t *testing.T) {
	t.Parallel()
	e := ends{last: map[string]time.Duration{"a": 10 * time.Second, "b": 8 * time.Second}}
	for i := range 10 {
		e.came = append(e.came, time.Duration(i+1)*time.Second)
	}
	assert.Equal(t, time.Second, e.idle(2), "b had nothing to do for two seconds")
	assert.InDelta(t, 1, e.lastTenth(), 1e-9)
	e.came[9] = 11 * time.Second
	assert.InDelta(t, 2, e.lastTenth(), 1e-9)
	assert.Zero(t, ends{}.idle(2))
	assert.Zero(t, ends{}.lastTenth())
}

func TestEndsAreReadFromAGrowingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "results.jsonl")
	ctx, over := context.WithCancel(t.Context())
	came := watchEnds(ctx, path, time.Now())
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	for _, part := range []string{`{"worker":"a"}` + "\n" + `{"wor`, `ker":"b"}` + "\n"} {
		_, err = f.WriteString(part)
		require.NoError(t, err)
	}
	over()
	e := <-came
	assert.Len(t, e.came, 2)
	assert.Contains(t, e.last, "a")
	assert.Contains(t, e.last, "b")
}
