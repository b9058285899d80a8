package figures

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	var s Series
	assert.Zero(t, s.Quantile(0.95))
	for i := range 20 {
		s = append(s, float64(20-i))
	}
	assert.InDelta(t, 19, s.Quantile(0.95), 0)
	assert.InDelta(t, 10, s.Quantile(0.5), 0)
	assert.InDelta(t, 1, s.Quantile(0), 0)
	assert.InDelta(t, 20, s.Quantile(1), 0)
}
