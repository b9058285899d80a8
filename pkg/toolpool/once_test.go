package toolpool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJoinHasOneLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		var mu sync.Mutex
		leads := 0
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				joined, err := p.Join(t.Context(), Key("job", "b", "1"))
				if !assert.NoError(t, err) {
					return
				}
				if joined.Lead == nil {
					assert.Equal(t, Shared{Content: "x"}, joined.Outcome)
					return
				}
				mu.Lock()
				leads++
				mu.Unlock()
				time.Sleep(time.Hour)
				joined.Lead.Publish(t.Context(), Shared{Content: "x"}, true)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, leads)
		later, err := p.Join(t.Context(), Key("job", "b", "1"))
		require.NoError(t, err)
		assert.Equal(t, "x", later.Outcome.Content)
		other, err := p.Join(t.Context(), Key("job", "b", "2"))
		require.NoError(t, err)
		require.NotNil(t, other.Lead)
		other.Lead.Abandon(t.Context())
		assert.Empty(t, p.owns)
	})
}

func TestJoinAfterAnEndWithoutAResult(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(context.Context, Lead)
		lead bool // the waiting caller leads
	}{
		"abandoned": {func(ctx context.Context, l Lead) { l.Abandon(ctx) }, true},
		"failed":    {func(ctx context.Context, l Lead) { l.Publish(ctx, Shared{Failed: true}, false) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t)
				first, err := p.Join(t.Context(), Key("k"))
				require.NoError(t, err)
				ended := make(chan Joined, 1)
				go func() {
					second, err := p.Join(t.Context(), Key("k"))
					assert.NoError(t, err)
					ended <- second
				}()
				synctest.Wait()
				c.end(t.Context(), first.Lead)
				second := <-ended
				assert.Equal(t, c.lead, second.Lead != nil)
				if second.Lead != nil {
					second.Lead.Abandon(t.Context())
				} else {
					assert.True(t, second.Outcome.Failed)
				}
				again, err := p.Join(t.Context(), Key("k"))
				require.NoError(t, err)
				require.NotNil(t, again.Lead, "nothing is kept")
				again.Lead.Abandon(t.Context())
			})
		})
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		first, err := p.Join(t.Context(), Key("k"))
		require.NoError(t, err)
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		go cancel(stop)
		_, err = p.Join(ctx, Key("k"))
		require.ErrorIs(t, err, stop)
		first.Lead.Abandon(t.Context())
	})
}
