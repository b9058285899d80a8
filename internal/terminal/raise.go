package terminal

import (
	"fmt"
	"strings"

	"github.com/batchagent/batchagent/pkg/batch"
)

// raise returns the command that raises the budget of a batch, with a flag for each limit that the batch has.
func raise(i batch.Info) string {
	var flags []string
	if i.Budget.Tokens > 0 || i.Budget.USD == 0 {
		flags = append(flags, "--tokens N")
	}
	if i.Budget.USD > 0 {
		flags = append(flags, "--usd X")
	}
	return fmt.Sprintf("coordinator budget %s %s", i.ID.Whole(), strings.Join(flags, " "))
}
