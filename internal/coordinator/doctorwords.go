package coordinator

import (
	"context"
	"fmt"
	"io"
)

// RunDoctor runs the checks and writes one line per check. Below a line that is not good it writes the remedy.
func RunDoctor(ctx context.Context, w io.Writer, o DoctorOptions) error {
	return Doctor(ctx, o, func(c Check) error {
		line := fmt.Sprintf("%-5s %-16s %s\n", c.Mark, c.What, c.Found)
		if c.Remedy != "" {
			line += fmt.Sprintf("%23s-> %s\n", "", c.Remedy)
		}
		_, err := io.WriteString(w, line)
		return err
	})
}
