package openaichat

// generated returns how many tokens a server generated, reasoning included.
//
// Most servers count reasoning within completion_tokens. Some count it apart, as xAI does: then the total is the sum of all
// three. A count of reasoning that exceeds the completion cannot be a part of it. Gemini does not name its reasoning: the
// total exceeds the sum of prompt and completion by it. An excess of exactly the cached tokens is a prompt's, from servers
// that leave them out of prompt_tokens.
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
