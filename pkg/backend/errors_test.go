package backend

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestClassIsFoundThroughWrapping(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("turn 3: %w", &Error{Class: Overloaded, Endpoint: "vllm://a", Status: 503, Message: "busy", Err: io.EOF})
	assert.Equal(t, Overloaded, ClassOf(err))
	assert.ErrorIs(t, err, io.EOF)
	assert.EqualError(t, err, "turn 3: vllm://a: overloaded (HTTP 503): busy: EOF")
	assert.Empty(t, ClassOf(errors.New("other")))
}

func TestRetryableClasses(t *testing.T) {
	t.Parallel()
	want := map[Class]bool{RateLimited: true, Overloaded: true, Transient: true, Degenerate: true}
	for _, c := range Classes {
		assert.Equal(t, want[c], c.Retryable(), c)
	}
	assert.Len(t, Classes, 9)
}
