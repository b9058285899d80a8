package sim

import (
	"regexp"
	"strings"
)

// Several callers may share one tool execution; one of them is credited with it. The Go scheduler decides which one, because all
// wake at the same instant. The credit is only a number in journals, results and counters. uncredited removes it from everything
// that is compared or used for a random decision. Remove it before shortening a text: numbers of another length would move the
// cut.

// credits matches every form of a credit in a text. Matches are removed without a placeholder, because a credit of 0 is often
// omitted. Examples are the batch's counter before the first result of a credited job, and a job's times.
//
// times_ms is included because the kind of a tool wait depends on which caller is credited. Each kind is in whole milliseconds.
var (
	credits    = regexp.MustCompile(`"executed":\d+|\bexecuted \d+ ?|,?"times_ms":\{[^}]*\}|,?"sources":\[[^\]]*\]`)
	creditPart = regexp.MustCompile(`^((?:\d+ ){6})\d+( \d+)$`) // a job's part of the sums of finish.lua
)

func uncredited(text string) string {
	if !strings.Contains(text, "executed") && !strings.Contains(text, "sources") && !strings.Contains(text, "times_ms") {
		return text
	}
	return credits.ReplaceAllString(text, "")
}

// uncreditedRequest returns a request without its credits.
func uncreditedRequest(req []string) []string {
	const keys, head, sum = 11, 13, 10 // of finish.lua
	out := make([]string, len(req))
	finish := len(req) > 3+keys+head && req[2] == "11"
	for i, word := range req {
		switch {
		case finish && i == 3+keys+sum:
			word = "_"
		case finish && creditPart.MatchString(word):
			word = creditPart.ReplaceAllString(word, "${1}_$2")
		default:
			word = uncredited(word)
		}
		out[i] = word
	}
	return out
}
