package terminal

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/internal/collect"
	"github.com/batchagent/batchagent/pkg/batch"
)

func TestSummaryEstimatesTheWholeInput(t *testing.T) {
	t.Parallel()
	s := Summary{
		Total: 20, Rows: 3000, Wall: 5 * time.Second, Prices: batch.Prices{Prompt: 1, Completion: 2},
		Tally: collect.Tally{OK: 18, Failed: 2, Usage: batch.Usage{PromptTokens: 20_000, CompletionTokens: 2_000}},
	}
	assert.Contains(t, s.String(), "whole    20 of 3,000 rows; the whole input would take about 3,300,000 tokens, $3.60, 12m30s at this rate\n")

	s.Earlier = 10
	assert.Contains(t, s.String(), "3,300,000 tokens, $3.60, 25m00s at this rate\n", "time counts the rows of this run, tokens all results")

	s.Rows = 20
	assert.NotContains(t, s.String(), "whole input")
}
