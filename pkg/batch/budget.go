package batch

// Prices are what a model server charges, in US dollars per million tokens. Zero prices cost nothing.
type Prices struct {
	Prompt     float64 `json:"prompt,omitempty"` // prompt tokens outside the server's cache
	Cached     float64 `json:"cached,omitempty"` // prompt tokens from the server's cache
	Completion float64 `json:"completion,omitempty"`
}

// Cost returns the price of the usage, in US dollars.
func (p Prices) Cost(u Usage) float64 {
	return (float64(u.PromptTokens-u.CachedTokens)*p.Prompt + float64(u.CachedTokens)*p.Cached + float64(u.CompletionTokens)*p.Completion) / 1e6
}

// WithoutCache returns the price of the same tokens if none came from the server's cache, in US dollars.
func (p Prices) WithoutCache(u Usage) float64 {
	u.CachedTokens = 0
	return p.Cost(u)
}

// Budget limits the use of a job or a batch. A zero field is no limit.
type Budget struct {
	Tokens int64   `json:"tokens,omitempty"` // prompt, cached or not, and completion
	USD    float64 `json:"usd,omitempty"`
}

// Plus returns the sum of two amounts.
func (b Budget) Plus(o Budget) Budget { return Budget{Tokens: b.Tokens + o.Tokens, USD: b.USD + o.USD} }

// Spent reports whether the usage has reached the budget.
func (b Budget) Spent(u Usage, p Prices) bool {
	return b.Reached(Budget{Tokens: u.PromptTokens + u.CompletionTokens, USD: p.Cost(u)})
}

// Reached reports whether the amount used has reached the budget.
func (b Budget) Reached(used Budget) bool {
	return b.Tokens > 0 && used.Tokens >= b.Tokens || b.USD > 0 && used.USD >= b.USD
}
