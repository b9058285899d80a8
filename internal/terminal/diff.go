package terminal

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/internal/earlier"
	"github.com/batchagent/batchagent/internal/human"
	"github.com/batchagent/batchagent/pkg/batch"
)

// Diff writes the rows whose results differ in two files to standard output, and the counts to standard error.
func Diff(ctx context.Context, before, after *earlier.Saved, prices batch.Prices, con *Console) error {
	out := con.Stdout()
	c, err := earlier.Compare(ctx, before, after, func(d earlier.Difference) error {
		_, err := io.WriteString(out, human.Visible(differenceText(d, con.lineWidth())))
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(con.Stderr(), comparisonText(c, prices))
	return err
}

// differenceText formats one row: its index, and one line for each change.
func differenceText(d earlier.Difference, line int) string {
	name := cmp.Or(oneLine(d.After.ID), strconv.FormatInt(d.After.Index, 10))
	if d.Before.Status != d.After.Status {
		return change(name, fmt.Sprintf("%s → %s", d.Before.Status, d.After.Status), outcomeText(d.Before), outcomeText(d.After), line)
	}
	if d.Fields == nil {
		return change(name, outputColumn, cellOf(d.Before.Output), cellOf(d.After.Output), line)
	}
	var before, after map[string]json.RawMessage
	_ = json.Unmarshal(d.Before.Output, &before) // Fields has the names of two objects
	_ = json.Unmarshal(d.After.Output, &after)
	var b strings.Builder
	for _, field := range d.Fields {
		b.WriteString(change(name, field, shownValue(before, field), shownValue(after, field), line))
	}
	return b.String()
}

func shownValue(of map[string]json.RawMessage, field string) string {
	raw, ok := of[field]
	if !ok {
		return "(missing)"
	}
	return cmp.Or(cellOf(raw), "null")
}

// outcomeText formats the outcome of a job: its output or its error.
func outcomeText(r batch.Result) string {
	if r.Error != nil {
		return oneLine(string(r.Error.Type) + ": " + r.Error.Message)
	}
	return cellOf(r.Output)
}

// change formats one change. Both values get the same space.
func change(name, what, before, after string, line int) string {
	head := fmt.Sprintf("%-6s %-18s ", name, fit(oneLine(what), 40))
	space := max((line-columns(head)-len(" → "))/2, columnLeast)
	return head + fit(before, space) + " → " + fit(after, space) + "\n"
}

// comparisonText formats the counts of a comparison.
func comparisonText(c earlier.Comparison, prices batch.Prices) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("rows", "%s in both: %s the same, %s with another output, %s with another status", human.Count(c.Both), human.Count(c.Same), human.Count(c.Outputs),
		human.Count(c.Both-c.Same-c.Outputs))
	if c.OnlyBefore+c.OnlyAfter > 0 {
		line("", "%s only in the first file, %s only in the second", human.Count(c.OnlyBefore), human.Count(c.OnlyAfter))
	}
	most := func(a, b int64) int { return cmp.Compare(b, a) }
	if len(c.Statuses) > 0 {
		changes := slices.SortedFunc(maps.Keys(c.Statuses), func(a, b earlier.StatusChange) int {
			return cmp.Or(most(c.Statuses[a], c.Statuses[b]), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
		})
		parts := make([]string, len(changes))
		for i, s := range changes {
			parts[i] = fmt.Sprintf("%s → %s %s", s.From, s.To, human.Count(c.Statuses[s]))
		}
		line("status", "%s", strings.Join(parts, "   "))
	}
	if len(c.Fields) > 0 {
		fields := slices.SortedFunc(maps.Keys(c.Fields), func(a, b string) int { return cmp.Or(most(c.Fields[a], c.Fields[b]), cmp.Compare(a, b)) })
		parts := make([]string, len(fields))
		for i, name := range fields {
			parts[i] = fmt.Sprintf("%s %s", oneLine(name), human.Count(c.Fields[name]))
		}
		line("changed", "%s", strings.Join(parts, "   "))
	}
	tokens := func(u batch.Usage) int64 { return u.PromptTokens + u.CompletionTokens }
	line("tokens", "%s → %s%s", human.Count(tokens(c.UsageBefore)), human.Count(tokens(c.UsageAfter)),
		grown(float64(tokens(c.UsageBefore)), float64(tokens(c.UsageAfter))))
	if prices != (batch.Prices{}) {
		before, after := prices.Cost(c.UsageBefore), prices.Cost(c.UsageAfter)
		line("cost", "%s → %s%s", human.Dollars(before), human.Dollars(after), grown(before, after))
	}
	return b.String()
}

// grown formats a change in percent.
func grown(before, after float64) string {
	if before == 0 || before == after {
		return ""
	}
	return fmt.Sprintf(" (%+.0f%%)", 100*(after-before)/before)
}
