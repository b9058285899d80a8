package endpoint

import (
	"regexp"
	"strconv"
	"strings"
)

// Overflow holds the sizes from a server's message about a prompt over the model's context.
type Overflow struct {
	Needs  int // tokens that the request needs; 0 if missing
	Window int // tokens of the context; 0 if missing
	// Total is set if Needs includes the answer.
	Total bool
}

const number = `(\d{1,9})`

// windows match the size of the context in the wordings of servers and gateways, in lower case.
var windows = compile(
	`maximum context length (?:of|is) `+number,
	``+number+` maximum context length`,
	`context length of (?:only )?`+number,
	`context (?:length|window|size)[^0-9.;]{0,20}\(?(?:is |of |: ?)?`+number+` ?tokens`,
	`context (?:window|size|length) ?\(`+number,
	`\bn_ctx(?:_slot)?["']? ?[:=] ?"?`+number,
	`(?:tokens|max_new_tokens\W{0,2}) must be <= ?`+number,
	`tokens allowed \(?`+number,
	`only supports up to `+number,
	`cannot exceed `+number,
	`less than `+number+` tokens`,
	`session_len `+number,
	`input length should be \[\d+, ?`+number,
	`exceeds the limit of `+number,
	`max length: `+number,
	`tokens > `+number,
	`\d+ \+ \d+ > `+number,
	`(?:limit|maximum)(?: is| of|:) `+number,
	`maximum (?:input|prompt) (?:length|tokens)[^0-9.]{0,20}`+number,
	`(?:>|exceeds?) (?:the )?(?:maximum|max|limit)[^0-9.(]{0,40}`+number+`(?: tokens)?`,
)

// totals match the tokens of prompt and answer together.
var totals = compile(
	`requested (?:a total of |about )?`+number+` tokens`,
	`for a total of (?:at least )?`+number+` tokens`,
)

// prompts match the tokens of the prompt.
var prompts = compile(
	`resulted in `+number,
	`prompt (?:contains|has|is)[^0-9.]{0,20}`+number,
	`contains[^0-9.]{0,20}`+number+` (?:input )?tokens`,
	`n_prompt_tokens["']? ?[:=] ?`+number,
	`request \(`+number+` tokens`,
	`input \(`+number+` tokens`,
	`input token count[^0-9.]{0,10}\(?`+number,
	`too long: `+number,
	`current length is `+number,
	`received `+number,
	`given: `+number,
	`n_keep: `+number,
	`first `+number+` tokens`,
	``+number+` \+ \d+ > \d`,
	`token count of `+number,
	`input \[`+number+` tokens`,
	`\bgot `+number,
	`requested `+number,
)

// unmistakable are phrases that mean an overflow under any status.
var unmistakable = []string{
	"context_length_exceeded", "exceed_context_size", "contextwindowexceeded", "context_window_exceeded", "context shift is disabled",
	"exceeds the available context size", "exceed context limit", "exceeds the context window", "exceeds the model's context",
	"exceeds the model context", "maximum context length of", "context length of only", "tokens to keep from the initial prompt",
	"the context overflows", "context the overflows", "prompt is too long", "longer than the model's context length",
	"exceeds the maximum number of tokens allowed", "model_context_window_exceeded", "context size has been exceeded", "model_max_prompt_tokens_exceeded",
}

// usual are phrases that mean an overflow in a refusal, but may also occur in messages about other failures.
var usual = []string{
	"maximum context length", "context length exceeded", "context window", "context length", "too many input tokens", "input is too long",
	"prompt too long", "prompt is too large", "input tokens exceed", "maximum allowed length", "reduce the length of the messages",
	"maximum prompt length", "max_new_tokens` must be", "inputs` tokens + ", "input length and `max_tokens` exceed", "too large for model with",
	"exceeds max context", "context size", "maximum number of input tokens", "input token count", "maximum input length", "input is longer than",
	"too many tokens in the prompt", "input too long", "exceeded model token limit", "too many tokens", "maximum sequence length", "maximum model length",
	"inputs` must have less than", "range of input length", "session_len",
}

// tooMuch matches the many other wordings of refusals: a word for the prompt followed by a word for its excess.
var tooMuch = regexp.MustCompile(`\b(?:prompt|input|message|conversation|context)s?\b[^.]{0,80}\b(?:exceed(?:s|ed|ing)?|too long|longer than|over the)\b`)

// sizes are words about size.
var sizes = []string{"token", "length", "context", "window", "too long"}

// ReadOverflow reports whether a message is about a prompt over the context, and returns the sizes in it. refusal means
// an answer with status 4xx. For any other failure, only an unmistakable phrase counts.
func ReadOverflow(message string, refusal bool) (Overflow, bool) {
	words := strings.ToLower(message)
	if !Mentions(words, unmistakable...) && !(refusal && (Mentions(words, usual...) || Mentions(words, sizes...) && tooMuch.MatchString(words))) {
		return Overflow{}, false
	}
	o := Overflow{Window: first(words, windows), Needs: first(words, totals)}
	if o.Total = o.Needs > 0; !o.Total {
		o.Needs = first(words, prompts)
	}
	if o.Needs > 0 && o.Window > 0 && o.Needs <= o.Window && !o.Total {
		o.Needs = 0 // the number has another meaning
	}
	return o, true
}

func compile(patterns ...string) []*regexp.Regexp {
	out := make([]*regexp.Regexp, len(patterns))
	for i, p := range patterns {
		out[i] = regexp.MustCompile(p)
	}
	return out
}

// first returns the number that the first matching pattern finds; 0 without a match.
func first(words string, patterns []*regexp.Regexp) int {
	for _, p := range patterns {
		if m := p.FindStringSubmatch(words); m != nil {
			n, _ := strconv.Atoi(m[1]) // digits only
			return n
		}
	}
	return 0
}
