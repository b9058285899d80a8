package statestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/batchagent/batchagent/pkg/batch"
)

// Bind binds an unbound batch to a model that answered for it. It returns the model that the batch is bound to. With anyModel
// the binding is only a record. ErrNotFound: the batch is gone. Repeatable.
func (s *Store) Bind(ctx context.Context, id batch.ID, model string, anyModel bool) (bound string, err error) {
	op := "bind batch " + string(id) + " to its model"
	v, err := s.call(ctx, op, s.scripts.bind, id, named{"model": model, "any_model": anyModel})
	if err != nil {
		return "", err
	}
	if bound = (reply{v}).str(); bound == "" {
		return "", fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return bound, nil
}

// BoundModel returns the model that a batch is bound to. It is empty before the first answer. Repeatable.
func (s *Store) BoundModel(ctx context.Context, id batch.ID) (string, error) {
	model, err := s.cmd.HGet(ctx, keyMeta(id), "model").Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return model, classify("read the model of batch "+string(id), err)
}
