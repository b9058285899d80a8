package scrape

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPage(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(`# TYPE new gauge
new{engine="0",size="16"} 3
new{engine="1",size="x"} 4
old 7
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 2
seconds_sum 5
seconds_count 2
`))
	require.NoError(t, err)
	assert.Equal(t, 7.0, p.Sum("new", "old"))
	assert.Equal(t, 7.0, p.Sum("gone", "old"))
	assert.Equal(t, -1.0, p.Sum("gone"))
	assert.Equal(t, 4.0, p.Highest("new"))
	assert.Equal(t, -1.0, p.Highest("gone"))
	assert.Equal(t, 5.0, p.Sum("seconds"), "the sum of a histogram's observations")
	samples := p.Samples("new")
	assert.Equal(t, 16, samples[0].Number("size"))
	assert.Zero(t, samples[1].Number("size"))
	_, has := samples[0].Label("priority")
	assert.False(t, has)
	_, err = Parse([]byte("x{"))
	assert.Error(t, err)
}
