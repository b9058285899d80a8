package terminal

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/backend/dial"
)

// Backends writes a table of the adapters and their declared capabilities.
func Backends(ctx context.Context, w io.Writer) error {
	adapters, err := dial.Adapters(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BACKEND\tURL\tSHARED PREFIX\tHINTS\tPRIORITY\tCACHED TOKENS\tSCHEMA\tIN FLIGHT")
	for _, a := range adapters {
		c := a.Capabilities
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, a.URL, prefixOf(c), hintsOf(c), yesNo(c.Priority), yesNo(c.CachedUsage), yesNo(c.StructuredOutput), inFlightOf(c))
	}
	return t.Flush()
}

func prefixOf(c backend.Capabilities) string {
	switch {
	case c.PrefixPinned:
		return "pinned"
	case c.PrefixCache:
		return "warmed"
	}
	return "-"
}

func hintsOf(c backend.Capabilities) string {
	if c.Priority {
		return "priority"
	}
	return "-"
}

func inFlightOf(c backend.Capabilities) string {
	if c.StartConcurrent > 0 {
		return fmt.Sprintf("%d to %d, found by AIMD", c.StartConcurrent, c.MaxConcurrent)
	}
	return strconv.Itoa(c.MaxConcurrent)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}
