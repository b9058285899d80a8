package terminal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/batchagent/batchagent/internal/nearest"
)

func TestMessageNamesTheCommandThatHelps(t *testing.T) {
	t.Parallel()
	unlike := fmt.Errorf("no such batch; %w", nearest.ErrUnlike)
	assert.Equal(t, "no such batch; its ID resembles no known batch: check it in the list of batches, `batchagent batches`", Message(unlike, "batchagent"))
	assert.Equal(t, "full", Message(errors.New("full"), "coordinator"))
}
