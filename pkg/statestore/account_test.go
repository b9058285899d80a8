package statestore

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/internal/testredis"
	"github.com/batchagent/batchagent/pkg/batch"
)

// TestAccountInGoAndLua compares the two implementations of the sums of a budget. No call is in flight, because only the scripts
// estimate those.
func TestAccountInGoAndLua(t *testing.T) {
	t.Parallel()
	dial, _ := testredis.Pipe(t)
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", Dialer: dial, MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	script, err := assemble("lua/part/budget.lua", map[string]bool{})
	require.NoError(t, err)
	script += "local s = budget_of(k.meta)\nreturn {tostring(s.tokens), string.format('%.9f', s.usd), tostring(s.reserved), string.format('%.9f', s.reserved_usd)}"
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 20 {
		id := batch.ID(fmt.Sprintf("b_%026d", n))
		var used, reserved batch.Budget
		for _, stage := range []batch.Stage{batch.StagePlan, batch.StageJobs, batch.StageReduce} {
			fields := []any{"price_prompt", r.Float64() * 10, "price_cached", r.Float64(), "price_completion", r.Float64() * 30}
			for _, field := range []string{"prompt", "cached", "completion"} {
				fields = append(fields, field, r.IntN(1_000_000))
			}
			ledger := "0"
			for i := range 10 {
				amount := r.IntN(100_000)
				if i == 3 { // ended calls
					amount = 0
				}
				ledger += " " + strconv.Itoa(amount)
			}
			fields = append(fields, "ledger", ledger)
			if stage == batch.StageJobs {
				fields = append(fields, "cap_tokens", 5)
				for stage, name := range stageNames {
					fields = append(fields, name, keyPrefix(id.ForStage(stage)))
				}
			}
			require.NoError(t, c.HSet(t.Context(), keyMeta(id.ForStage(stage)), fields...).Err())
			values, err := c.HMGet(t.Context(), keyMeta(id.ForStage(stage)), accountFields...).Result()
			require.NoError(t, err)
			a := parseAccount(values)
			used, reserved = used.Plus(a.used), reserved.Plus(a.reserved)
		}
		got, err := c.Eval(t.Context(), script, []string{keyMeta(id)}).StringSlice()
		require.NoError(t, err)
		want := []string{
			strconv.FormatInt(used.Tokens, 10), fmt.Sprintf("%.9f", used.USD),
			strconv.FormatInt(reserved.Tokens, 10), fmt.Sprintf("%.9f", reserved.USD),
		}
		for i := range want {
			w, _ := strconv.ParseFloat(want[i], 64)
			g, err := strconv.ParseFloat(got[i], 64)
			require.NoError(t, err)
			assert.InDelta(t, w, g, 1e-6, "amount %d of %v and %v", i, want, got)
		}
	}
}
