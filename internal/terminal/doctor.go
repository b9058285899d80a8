package terminal

import (
	"context"
	"fmt"
	"io"

	"github.com/batchagent/batchagent/internal/diagnose"
	"github.com/batchagent/batchagent/internal/human"
)

// Doctor runs the checks and writes one line per check. Below a line that is not good it writes the remedy.
func Doctor(ctx context.Context, w io.Writer, o diagnose.DoctorOptions) error {
	return diagnose.Doctor(ctx, o, func(c diagnose.Check) error {
		line := fmt.Sprintf("%-5s %-16s %s\n", c.Mark, c.What, c.Found)
		if c.Remedy != "" {
			line += fmt.Sprintf("%23s-> %s\n", "", c.Remedy)
		}
		_, err := io.WriteString(w, human.Visible(line))
		return err
	})
}
