package batch

// Prices are what a server's owner asks, in US dollars per million tokens. Zero prices cost nothing.
type Prices struct {
	Prompt     float64 `json:"prompt,omitempty"` // that were not in the server's cache
	Cached     float64 `json:"cached,omitempty"` // that were
	Completion float64 `json:"completion,omitempty"`
}

// Cost is what the tokens cost, in US dollars.
func (p Prices) Cost(u Usage) float64 {
	return (float64(u.PromptTokens-u.CachedTokens)*p.Prompt + float64(u.CachedTokens)*p.Cached + float64(u.CompletionTokens)*p.Completion) / 1e6
}

// WithoutCache is what the same tokens would cost if the server had held none of them.
func (p Prices) WithoutCache(u Usage) float64 {
	u.CachedTokens = 0
	return p.Cost(u)
}

// Budget bounds what a job or a batch may use. Zero fields bound nothing.
type Budget struct {
	Tokens int64   `json:"tokens,omitempty"` // prompt, cached or not, and completion
	USD    float64 `json:"usd,omitempty"`
}

// Plus is the sum of two amounts.
func (b Budget) Plus(o Budget) Budget { return Budget{Tokens: b.Tokens + o.Tokens, USD: b.USD + o.USD} }

// Spent reports whether the usage has reached the budget.
func (b Budget) Spent(u Usage, p Prices) bool {
	return b.Reached(Budget{Tokens: u.PromptTokens + u.CompletionTokens, USD: p.Cost(u)})
}

// Reached reports whether what was used has reached the budget.
func (b Budget) Reached(used Budget) bool {
	return b.Tokens > 0 && used.Tokens >= b.Tokens || b.USD > 0 && used.USD >= b.USD
}
