package sim

import (
	"regexp"
	"strings"
)

// Which of several callers of one shared tool execution is told that it ran is up to the Go scheduler: all wake at one instant.
// It is a number in journals, results and counters that nothing depends on. Whatever is compared or drawn from goes through
// uncredited first, so that it does not matter here either.

var (
	// Whose wait for tools was for its own execution follows the credit too, and so does the shape of times_ms.
	creditField = regexp.MustCompile(`"executed":\d+|\bexecuted \d+|,?"times_ms":\{[^}]*\}`)
	creditPart  = regexp.MustCompile(`^(\d+ \d+ \d+ \d+ \d+ \d+) \d+$`) // a job's part of the sums of finish.lua
)

func uncredited(text string) string {
	if !strings.Contains(text, "executed") {
		return text
	}
	return creditField.ReplaceAllString(text, "executed _")
}

// uncreditedRequest is a request of which nothing tells who was credited.
func uncreditedRequest(req []string) []string {
	const keys, head, sum = 9, 12, 10 // of finish.lua
	out := make([]string, len(req))
	finish := len(req) > 3+keys+head && req[2] == "9"
	for i, word := range req {
		switch {
		case finish && i == 3+keys+sum:
			word = "_"
		case finish && creditPart.MatchString(word):
			word = creditPart.ReplaceAllString(word, "$1 _")
		default:
			word = uncredited(word)
		}
		out[i] = word
	}
	return out
}
