package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestAdvice(t *testing.T) {
	t.Parallel()
	p75 := func(tool string) time.Duration {
		return map[string]time.Duration{"quick": time.Second, "slow": time.Minute}[tool]
	}
	var a Advisor
	check := func(tokens int, back time.Duration) {
		t.Helper()
		gotTokens, gotBack := a.Advice(p75)
		assert.Equal(t, tokens, gotTokens)
		assert.Equal(t, back, gotBack)
	}
	check(0, 0)
	a.Answered(100, []string{"new"})
	check(100, 0)
	a.Answered(50, []string{"quick", "quick"})
	check(75, time.Second)
	a.Answered(30, []string{"slow"})
	check(60, 62*time.Second/3)
	a.Answered(20, nil)
	a.Answered(0, nil)
	check(40, 62*time.Second/3)
	a.Answered(40, nil)
	a.Answered(40, nil)
	check(40, 0)
}

func TestAdviceStaysWithinObservations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var a Advisor
		took := map[string]time.Duration{"a": time.Second, "b": 10 * time.Second, "c": 0}
		least, most := 1_000, 0
		for range rapid.IntRange(1, 30).Draw(rt, "answers") {
			n := rapid.IntRange(0, 1_000).Draw(rt, "tokens")
			least, most = min(least, n), max(most, n)
			a.Answered(int64(n), rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(rt, "tools"))
		}
		tokens, back := a.Advice(func(tool string) time.Duration { return took[tool] })
		assert.True(rt, tokens >= least && tokens <= most, "%d of %d to %d", tokens, least, most)
		assert.True(rt, back == 0 || back >= took["a"] && back <= took["b"], back)
	})
}
