package sim

import (
	"regexp"
	"strings"
)

// Which of several callers of one shared tool execution is told that it ran is up to the Go scheduler: all wake at one instant.
// It is a number in journals, results and counters that nothing depends on. Whatever is compared or drawn from goes through
// uncredited first, so that it does not matter here either. It goes through it whole and is cut for the reader afterwards: numbers
// of other lengths would move the cut.

// credits is every form in which a text tells who was credited. All of it is taken out and nothing put in its place, because what
// is 0 is often not there at all: the batch's counter before the first credited job has a result, and a job's times.
//
// times_ms belongs here since a wait for tools is booked by whose execution it was, each kind in whole milliseconds.
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

// uncreditedRequest is a request of which nothing tells who was credited.
func uncreditedRequest(req []string) []string {
	const keys, head, sum = 10, 13, 10 // of finish.lua
	out := make([]string, len(req))
	finish := len(req) > 3+keys+head && req[2] == "10"
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
