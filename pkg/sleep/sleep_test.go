package sleep

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		assert.NoError(t, For(t.Context(), time.Hour))
		assert.Equal(t, time.Hour, time.Since(began))

		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, enough)
		defer cancel()
		assert.ErrorIs(t, For(ctx, time.Hour), enough)
		assert.Equal(t, time.Hour+time.Minute, time.Since(began))
		assert.ErrorIs(t, For(ctx, 0), enough)
		assert.NoError(t, For(t.Context(), -time.Second))
	})
}
