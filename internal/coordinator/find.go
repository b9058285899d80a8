package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/agext/levenshtein"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// nearEnough is how many letters a mistyped batch ID may differ from a known one that is then proposed.
const nearEnough = 6

// Find checks that a batch exists. If not, the error names the known ID that is nearest to id. An error of another kind
// is left to the command, which knows whether it can wait.
func Find(ctx context.Context, s *statestore.Store, id batch.ID) error {
	_, err := s.Phase(ctx, id)
	if !errors.Is(err, statestore.ErrNotFound) {
		return nil
	}
	known, listErr := s.List(ctx)
	if listErr != nil {
		return err
	}
	nearest, distance := batch.ID(""), nearEnough+1
	for _, b := range known {
		if d := levenshtein.Distance(string(id), string(b.ID), nil); d < distance {
			nearest, distance = b.ID, d
		}
	}
	switch {
	case nearest != "":
		return fmt.Errorf("%w; the nearest known one is %s", err, nearest)
	case len(known) == 0:
		return fmt.Errorf("%w; Redis at %s holds no batch at all: is it the right one?", err, s.Address())
	}
	return fmt.Errorf("%w; `coordinator batches` lists the known ones", err)
}
