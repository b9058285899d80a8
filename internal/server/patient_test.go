package server

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slow is a reader that returns size bytes per second.
type slow struct{ size int }

func (s slow) Read(b []byte) (int, error) {
	time.Sleep(time.Second)
	return min(len(b), s.size), nil
}

func TestTrickledBodiesAreGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		n, err := io.Copy(io.Discard, &patientReader{r: slow{1}, deadline: func(time.Time) error { return nil }})
		p, ok := errors.AsType[*Problem](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, 408, p.Status)
		assert.Less(t, n, int64(40))
		assert.Less(t, time.Since(began), 40*time.Second)

		fast := &patientReader{r: io.LimitReader(slow{20_000}, 20_000*600), deadline: func(time.Time) error { return nil }}
		n, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, fast, make([]byte, 20_000))
		require.NoError(t, err)
		assert.EqualValues(t, 20_000*600, n)
	})
}
