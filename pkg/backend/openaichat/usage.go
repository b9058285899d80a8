package openaichat

// generated returns the number of tokens that a server generated, including reasoning.
//
// Most servers count reasoning within completion_tokens. Some, such as xAI, count it separately: then the total is the
// sum of all three. A reasoning count above the completion count cannot be part of it. Gemini sends no reasoning count:
// its total exceeds the sum of prompt and completion by the reasoning. An excess of exactly the cached tokens belongs
// to the prompt, at servers that exclude them from prompt_tokens.
func generated(prompt, completion, total, reasoning, cached int64) int64 {
	switch excess := total - prompt - completion; {
	case reasoning > 0 && (excess == reasoning || reasoning > completion && excess != 0):
		return completion + reasoning
	case reasoning <= 0 && excess > 0 && excess != cached:
		return completion + excess
	default:
		return completion
	}
}
