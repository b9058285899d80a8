package spec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeepReasoning(t *testing.T) {
	t.Parallel()
	const start = "task: \"x {item}\"\n"
	cases := []struct {
		name, spec         string
		jobs, plan, reduce KeepReasoning
		mistake            string
	}{
		{name: "the default is stored as nothing", spec: "plan: {task: p}\nreduce: {task: r}\n"},
		{name: "auto is the default", spec: "keep_reasoning: auto\nplan: {task: p, keep_reasoning: auto}\nreduce: {task: r}\n"},
		{name: "stages take the batch's", spec: "keep_reasoning: always\nplan: {task: p}\nreduce: {task: r}\n", jobs: KeepAlways, plan: KeepAlways, reduce: KeepAlways},
		{name: "stages have their own", spec: "keep_reasoning: never\nplan: {task: p, keep_reasoning: auto}\nreduce: {task: r, keep_reasoning: always}\n", jobs: KeepNever, reduce: KeepAlways},
		{name: "other words are mistakes", spec: "keep_reasoning: sometimes\nplan: {task: p}\n", mistake: "keep_reasoning: must be auto, always or never, not"},
		{name: "a flag is a mistake", spec: "keep_reasoning: true\nplan: {task: p}\n", mistake: "keep_reasoning: must be"},
	}
	for _, c := range cases {
		s, err := load(t, start+c.spec, nil, LoadOptions{})
		if c.mistake != "" {
			require.ErrorContains(t, err, c.mistake, c.name)
			t.Log(err)
			continue
		}
		require.NoError(t, err, c.name)
		assert.Equal(t, c.jobs, s.settings.KeepReasoning, c.name)
		assert.Equal(t, c.plan, s.planner.KeepReasoning, c.name)
		if s.reduce != nil {
			assert.Equal(t, c.reduce, s.reduce.KeepReasoning, c.name)
		}
	}
}
