package statestore

import (
	"context"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
)

// account is what one stage of a batch has used and reserved. Limits are set on the whole batch only.
type account struct{ limits, used, reserved batch.Budget }

// accountFields are the fields of meta that [parseAccount] reads. The limits are first.
var accountFields = []string{
	"cap_tokens", "cap_usd", "prompt", "cached", "completion", "price_prompt", "price_cached", "price_completion", "ledger",
}

// parseAccount computes an account from the accountFields of a stage. It repeats amounts in lua/part/budget.lua, because users who only
// read may not run scripts. It does not raise reservations to the size of an average call.
func parseAccount(values []any) account {
	var n [8]float64
	for i := range n {
		n[i], _ = strconv.ParseFloat(text(values[i]), 64)
	}
	var stored [11]int64 // the layout is in lua/part/account.lua
	for i, word := range strings.Fields(text(values[8])) {
		if i < len(stored) {
			stored[i], _ = strconv.ParseInt(word, 10, 64)
		}
	}
	prices := batch.Prices{Prompt: n[5], Cached: n[6], Completion: n[7]}
	cost := func(prompt, cached, completion int64) batch.Budget {
		u := batch.Usage{PromptTokens: prompt, CachedTokens: cached, CompletionTokens: completion}
		return batch.Budget{Tokens: prompt + completion, USD: prices.Cost(u)}
	}
	return account{
		limits:   batch.Budget{Tokens: int64(n[0]), USD: n[1]},
		used:     cost(int64(n[2])+stored[8], int64(n[3])+stored[9], int64(n[4])+stored[10]),
		reserved: cost(stored[1], stored[2], stored[3]),
	}
}

// Budgeted reports whether a batch has a budget, or is a stage of a batch with one. Repeatable.
func (s *Store) Budgeted(ctx context.Context, id batch.ID) (bool, error) {
	v, err := s.cmd.HMGet(ctx, keyMeta(id.Whole()), accountFields...).Result()
	if err != nil {
		return false, classify("read the budget of batch "+string(id.Whole()), err)
	}
	return parseAccount(v).limits != batch.Budget{}, nil
}
