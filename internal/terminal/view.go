package terminal

import (
	"fmt"
	"strings"

	"golang.org/x/text/width"

	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/internal/operation"
	"github.com/batchagent/batchagent/pkg/batch"
)

// view is the progress of a batch on a terminal, in a few lines that are redrawn:
//
//	paper-extraction  ━━━━━━━━━━━━━━──────────────  210/400  52%  12.3 jobs/s  ETA 15.4s
//	ok 190   failed 20   in flight 32   waiting 158   cached 84%   tool calls 420, 75% shared
//	job-209  ok         5.5s  {"summary":"…"}
//	job-199  failed     7.8s  BackendUnavailable: the model server answered 503 four times in a row
type view struct {
	operation.Progress
	width  int // of the terminal, in columns
	colour bool
	last   []batch.Result
}

// Terminal colours, ECMA-48.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// piece is a part of a line in one colour.
type piece struct{ colour, text string }

// String formats the lines. None is wider than the terminal. The last one has no line end.
func (v view) String() string {
	lines := []string{v.line(v.head()), v.line(v.counts())}
	if v.Pause != nil {
		lines = append(lines, v.line([]piece{{yellow, v.Pause.String()}}))
	}
	for _, r := range v.last {
		lines = append(lines, v.line(lastOf(r)))
	}
	return strings.Join(lines, "\n")
}

func (v view) head() []piece {
	c := v.Counts
	out := []piece{{bold, v.Name}}
	if v.Total > 0 {
		// The bar takes the rest of the line.
		full := strings.Count(bar(v.Progress, barWidth(v.width)), "#")
		empty := barWidth(v.width) - full
		out = append(out, piece{"", "  "}, piece{green, strings.Repeat("━", full)}, piece{dim, strings.Repeat("─", empty)},
			piece{"", fmt.Sprintf("  %s/%s  %s", human.Count(c.Finished()), human.Count(v.Total), human.Percent(c.Finished(), v.Total))})
	} else if v.Plans {
		out = append(out, piece{"", "  being planned"})
	} else {
		out = append(out, piece{"", fmt.Sprintf("  %s of %s so far", human.Count(c.Finished()), human.Count(c.Fed))})
	}
	if v.Rate > 0 {
		out = append(out, piece{"", "  " + human.PerSecond(v.Rate) + " jobs/s"})
	}
	if eta, ok := v.ETA(); ok {
		out = append(out, piece{"", "  ETA " + human.Span(eta)})
	}
	if v.Phase == batch.Cancelling {
		out = append(out, piece{yellow, "  being cancelled"})
	}
	return out
}

// barWidth returns the width of the bar in columns.
func barWidth(terminal int) int { return max(10, min(30, terminal/3)) }

func (v view) counts() []piece {
	c := v.Counts
	out := []piece{{green, "ok " + human.Count(c.OK)}}
	if c.Failed > 0 {
		out = append(out, piece{red, "   failed " + human.Count(c.Failed)})
	}
	if c.Cancelled > 0 {
		out = append(out, piece{yellow, "   cancelled " + human.Count(c.Cancelled)})
	}
	out = append(out, piece{"", fmt.Sprintf("   in flight %s   waiting %s", human.Count(c.Running), human.Count(c.Waiting))})
	if c.Usage.PromptTokens > 0 {
		out = append(out, piece{dim, "   cached " + human.Percent(c.Usage.CachedTokens, c.Usage.PromptTokens)})
	}
	if c.Tools.Asked > 0 {
		out = append(out, piece{dim, fmt.Sprintf("   tool calls %s, %s shared", human.Count(c.Tools.Asked), human.Percent(c.Tools.Asked-c.Tools.Executed, c.Tools.Asked))})
	}
	return out
}

// lastOf formats a result as one line.
func lastOf(r batch.Result) []piece {
	colour, text := green, string(r.Output)
	switch r.Status {
	case batch.StatusFailed:
		colour = red
	case batch.StatusCancelled:
		colour = yellow
	}
	if r.Error != nil {
		text = string(r.Error.Type) + ": " + r.Error.Message
	}
	return []piece{
		{dim, fmt.Sprintf("%-8s ", nameOf(r))}, {colour, fmt.Sprintf("%-9s", r.Status)},
		{dim, fmt.Sprintf("%6s  ", human.MS(r.WallMS))}, {"", human.FirstLine(text, 300)},
	}
}

// nameOf returns the name of a result's job, with the user's own key if there is one.
func nameOf(r batch.Result) string {
	if r.ID == "" {
		return r.JobID
	}
	return r.JobID + " " + r.ID
}

// line joins pieces and cuts the line at the width of the terminal, because a wrapped line cannot be erased.
func (v view) line(pieces []piece) string {
	left := v.width - 1
	if v.width <= 0 {
		left = 1 << 20
	}
	var b strings.Builder
	for _, p := range pieces {
		text, used := fitting(p.text, left)
		left -= used
		if v.colour && p.colour != "" && text != "" {
			text = p.colour + text + plain
		}
		b.WriteString(text)
		if used < columns(p.text) {
			break
		}
	}
	return b.String()
}

// fitting returns the longest prefix of text within left columns, and its width.
func fitting(text string, left int) (string, int) {
	if n := columns(text); n <= left {
		return text, n
	}
	used := 0
	for i, r := range text {
		n := columns(string(r))
		if used+n > left-1 {
			if left < 1 {
				return "", 0
			}
			return text[:i] + "…", used + 1
		}
		used += n
	}
	return text, used
}

// columns returns the width of a text on a terminal. East Asian wide characters take two columns, UAX #11.
func columns(text string) int {
	n := 0
	for _, r := range text {
		switch width.LookupRune(r).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
