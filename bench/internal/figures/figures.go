// Package figures prints measurements: one line per run in the format that `go test -bench` and benchstat use, and a
// summary with median and spread. It keeps numbers in memory and does nothing else.
package figures

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
)

// Value is one measured number with its unit, as benchstat wants them: "jobs/s", "s/batch", "B/job".
type Value struct {
	Number float64
	Unit   string
}

// Header prints the keys that benchstat shows once: what ran, on what, at which commit.
func Header(w io.Writer, pkg string, extra ...string) {
	_, _ = fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: %s\n", runtime.GOOS, runtime.GOARCH, pkg)
	for _, line := range append(machine(), extra...) {
		_, _ = fmt.Fprintln(w, line)
	}
}

// Line prints one run. name is "Queue/store=batchagent"; ops is what the run did that many times.
func Line(w io.Writer, name string, ops int, values ...Value) {
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark%s-%d\t%d", name, runtime.GOMAXPROCS(0), ops)
	for _, v := range values {
		fmt.Fprintf(&b, "\t%s %s", number(v.Number), v.Unit)
	}
	_, _ = fmt.Fprintln(w, b.String())
}

// Series is one number over several runs.
type Series []float64

// Median is the middle of the runs, or 0 if there are none.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	if mid := len(sorted) / 2; len(sorted)%2 == 1 {
		return sorted[mid]
	} else {
		return (sorted[mid-1] + sorted[mid]) / 2
	}
}

// Quantile is the smallest of the values that at least the share q of them do not exceed, or 0 if there are none.
func (s Series) Quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(s))))
	return slices.Sorted(slices.Values(s))[min(max(rank, 1), len(s))-1]
}

// String is "median [min-max]".
func (s Series) String() string {
	if len(s) == 0 {
		return "none"
	}
	return fmt.Sprintf("%s [%s-%s]", number(s.Median()), number(slices.Min(s)), number(slices.Max(s)))
}

// Over divides run by run. Runs of one round share whatever the machine did meanwhile, so this ratio is steadier than
// that of two medians.
func (s Series) Over(base Series) Series {
	out := make(Series, 0, len(s))
	for i := range min(len(s), len(base)) {
		out = append(out, s[i]/base[i])
	}
	return out
}

// number keeps three or four digits that mean something.
func number(f float64) string {
	switch {
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.3f", f)
	}
}
