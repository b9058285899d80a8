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
	creditSum  = regexp.MustCompile(`"((?:\d+ ){6})\d+( \d+)"`)            // a job's part of the sums of finish.lua
	creditSums = regexp.MustCompile(`("totals":\[(?:\d+,){9})\d+(,\d+\])`) // the sums over all jobs
)

func uncredited(text string) string {
	if !strings.Contains(text, "executed") && !strings.Contains(text, "sources") && !strings.Contains(text, "times_ms") {
		return text
	}
	return credits.ReplaceAllString(text, "")
}

// uncreditedRequest returns a request without its credits.
func uncreditedRequest(req []string) []string {
	out := make([]string, len(req))
	for i, word := range req {
		if strings.Contains(word, `"totals":[`) { // the arguments of finish.lua
			word = creditSums.ReplaceAllString(creditSum.ReplaceAllString(word, `"${1}_$2"`), "${1}_$2")
		}
		out[i] = uncredited(word)
	}
	return out
}
