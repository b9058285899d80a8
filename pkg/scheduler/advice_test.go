package scheduler

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAdvice(t *testing.T) {
	t.Parallel()
	var a Advisor
	assert.Equal(t, 0, a.Advice())
	a.Answered(100)
	assert.Equal(t, 100, a.Advice())
	a.Answered(50)
	assert.Equal(t, 75, a.Advice())
	a.Answered(31)
	assert.Equal(t, 60, a.Advice(), "the nearest number of tokens")
	for range 7 {
		a.Answered(0)
	}
	assert.Equal(t, 18, a.Advice())
}
