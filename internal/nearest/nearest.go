package nearest

import (
	"context"
	"errors"
	"fmt"

	"github.com/agext/levenshtein"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

// nearEnough is the largest edit distance between a mistyped batch ID and a known one that the error proposes.
const nearEnough = 6

// ErrUnlike reports that no known batch has a similar ID.
var ErrUnlike = errors.New("its ID resembles no known batch: check it in the list of batches")

// Find checks that a batch exists. If it is missing, the error names the nearest known ID. Find returns nil on other
// errors: the command meets them itself and knows whether it can wait.
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
		return fmt.Errorf("%w; Redis at %s holds no batches: is the address right?", err, s.Address())
	}
	return fmt.Errorf("%w; %w", err, ErrUnlike)
}
