package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// costly is an array of n numbers. Checking it against costlySchema takes more steps than the limit of one check.
func costly(n int) string { return `{"list":[` + strings.Repeat("1,", n) + `1]}` }

// costlySchema accepts a list of any length, and a risk.
const costlySchema = `{"type":"object","properties":{"list":{"type":"array","items":{"type":"integer"}},"risk":{"type":"string"}}}`

func TestAnswerThatExceedsCheckStepsIsNotReplaced(t *testing.T) {
	t.Parallel()
	p := answering(t, costlySchema)
	large := costly(1_200_000)
	for name, text := range map[string]string{
		"alone":            large,
		"before a value":   large + ` {"risk":"low"}`,
		"after a value":    `{"risk":"low"} ` + large,
		"in a fence":       "```json\n" + large + "\n```\nFor short: {\"risk\":\"low\"}",
		"after a mismatch": `[] ` + large + ` {"risk":"low"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := p.answer(t.Context(), text)
			require.Error(t, err, "%.80s", out)
			assert.Contains(t, err.Error(), "takes too many steps")
		})
	}
	out, err := p.answer(t.Context(), "<think>"+large+`</think>{"risk":"low"}`)
	require.NoError(t, err, "thinking is no answer")
	assert.Equal(t, `{"risk":"low"}`, string(out))
}

func TestExtractionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	why := errors.New("the job's time is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	p := answering(t, costlySchema)
	for name, text := range map[string]string{
		"one value":   costly(100_000),
		"two values":  costly(100_000) + " " + costly(100_000),
		"many values": strings.Repeat(`[x `, 100_000),
	} {
		_, err := p.answer(ctx, text)
		require.ErrorIs(t, err, why, name)
	}
}

func TestHostileAnswersEndSoon(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 10_000_000
	schemas := []string{riskSchema, `{"type":"array","items":{"type":"integer"}}`, `{"type":["object","array","string","number","boolean","null"]}`}
	for _, unit := range []string{`{`, `[1,`, `{"a":`, `[`, `[x`, `{"x":1} `, `{"risk":"low"} `, "```\n1\n", `<think>`, `1,`, `{"a":{"b":1},`} {
		for _, schema := range schemas {
			began := time.Now()
			out, err := answering(t, schema).answer(t.Context(), strings.Repeat(unit, size/len(unit)))
			took := time.Since(began)
			t.Log(unit, took.Round(time.Millisecond), fmt.Sprintf("%.80s %.100v", out, err))
			assert.Less(t, took, 40*time.Second, unit) // quadratic work would take minutes
		}
	}
	deep := json.RawMessage(strings.Repeat(`[`, 999) + strings.Repeat(`]`, 999))
	_, err := answering(t, `{"type":"array"}`).answer(t.Context(), string(deep))
	require.NoError(t, err)
}
