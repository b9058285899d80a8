package worker

import (
	"github.com/batchagent/batchagent/pkg/backend"
	"github.com/batchagent/batchagent/pkg/scheduler"
)

// seeds returns the batch's seeding. It returns nil where seeding gains nothing: the prefix is short, the server has no
// prefix cache, or the server shares a prefix that it is still computing.
func seeds(c backend.Capabilities, prefixBytes int) *scheduler.Seeding {
	if !c.PrefixCache || !c.PrefixLate || !scheduler.WorthSeeding(prefixBytes) {
		return nil
	}
	return &scheduler.Seeding{}
}
