package strictyaml

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	assert.Empty(t, Nearest("a", nil))
	assert.Equal(t, "host", Nearest("hots", []string{"port", "host"}))
	assert.Equal(t, "ab", Nearest("a", []string{"ab", "ac"}), "the first of two that are as close")
}

func TestAnErrorHasItsCause(t *testing.T) {
	t.Parallel()
	err := ReadFile(t.TempDir()+"/none.yaml", nil, func(*Reader, Node) { t.Error("there is no file to read") })
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
