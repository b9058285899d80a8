package statestore_test

import (
	"fmt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/batchagent/batchagent/pkg/batch"
	"github.com/batchagent/batchagent/pkg/statestore"
)

var bindScenarios = []scenario{
	{"a batch is bound to the model that answers first", func(w *world) {
		id := w.create()
		bind := func(model string, anyModel bool) string {
			bound, err := w.store.Bind(w.Context(), id, model, anyModel)
			require.NoError(w, err)
			return bound
		}
		assert.Equal(w, "a", bind("a", false))
		assert.Equal(w, "a", bind("b", false))
		assert.Equal(w, "a", bind("a", false))
		info, err := w.store.Info(w.Context(), id)
		require.NoError(w, err)
		assert.Equal(w, []string{"a"}, info.Models)

		assert.Equal(w, "a", bind("b", true), "any model may be used")
		for i := range 20 {
			bind(fmt.Sprint("model-", i), true)
		}
		info, err = w.store.Info(w.Context(), id)
		require.NoError(w, err)
		assert.Len(w, info.Models, 16)
		bound, err := w.store.BoundModel(w.Context(), id)
		require.NoError(w, err)
		assert.Equal(w, "a", bound)
	}},
	{"a batch that is gone cannot be bound", func(w *world) {
		id := batch.ID("b_01jd0000000000000000000099")
		_, err := w.store.Bind(w.Context(), id, "a", false)
		require.ErrorIs(w, err, statestore.ErrNotFound)
		keys, err := w.raw.Keys(w.Context(), "*0099*").Result()
		require.NoError(w, err)
		assert.Empty(w, keys)
	}},
}
