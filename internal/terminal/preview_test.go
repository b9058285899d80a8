package terminal

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/internal/localrun"
	"github.com/batchagent/batchagent/pkg/spec"
)

func TestEstimateText(t *testing.T) {
	p := &spec.Prepared{Jobs: &spec.Compiled{}}
	for want, e := range map[string]localrun.Estimate{
		"about 12,000, by 3 bytes per token, because no model server is known": {Jobs: 3, Tokens: 12_000, Why: "no model server is known"},
		"11,999, counted by vllm://a:1":                                        {Jobs: 3, Counted: 3, Tokens: 11_999, Server: "vllm://a:1"},
		"prompt tokens  0: no input can be used, so no job asks the model":     {Server: "vllm://a:1"},
		"prompt tokens  0: no input can be used, so no job asks the model; ":   {Why: "no model server is known"},
	} {
		assert.Contains(t, estimateText(e, p), want)
	}
}
